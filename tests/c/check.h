/* A small harness for the C tests.
 *
 * A program has the tests of one subject: void functions without arguments, listed in an
 * array, and a main that CHECK_MAIN defines:
 *
 *     static void test_grows(void) { CHECK(rl_buf_len(&buf) == 3); }
 *     static const struct check_test tests[] = {CHECK_TEST(test_grows)};
 *     CHECK_MAIN(tests)
 *
 * A failed check is counted, and the test continues; a failed REQUIRE ends the test. Any
 * thread may make checks. A program runs all its tests, or those named as arguments, and
 * exits with 1 if one has failed.
 *
 * A test with a long loop is listed as CHECK_LOOP(test_grows), and its loop skips the
 * rounds for which check_mine(round) is false. With CHECK_PART=2/4 in the environment, the
 * program makes every fourth round only: four processes, one for each part, make all of
 * them, once. The process of part 1 also runs the other tests.
 */
#ifndef RUNLOG_TESTS_CHECK_H
#define RUNLOG_TESTS_CHECK_H

#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct check_test {
    const char *name;
    void (*run)(void);
    bool in_parts;
};

static const char *check_current = "";
static atomic_int check_failures;
static long check_part = 1, check_parts = 1;

/* clang-format off */
#define CHECK_TEST(function) {#function, function, false}
#define CHECK_LOOP(function) {#function, function, true}
/* clang-format on */
#define CHECK(cond) ((void)check_that((cond), #cond, __FILE__, __LINE__))
#define CHECK_INT(got, want) \
    check_int((intmax_t)(got), (intmax_t)(want), #got, __FILE__, __LINE__)
#define CHECK_STR(got, want) check_str((got), (want), #got, __FILE__, __LINE__)
/* For a text without a NUL; `want` is a string literal. */
#define CHECK_MEM(got, size, want) \
    check_mem((got), (size), (want), sizeof(want) - 1, #got, __FILE__, __LINE__)
#define REQUIRE(cond)                                         \
    do {                                                      \
        if (!check_that((cond), #cond, __FILE__, __LINE__)) { \
            return;                                           \
        }                                                     \
    } while (0)
#define CHECK_MAIN(tests)                                                        \
    int main(int argc, char **argv)                                              \
    {                                                                            \
        return check_run(tests, sizeof(tests) / sizeof((tests)[0]), argc, argv); \
    }

static inline void check_failed(const char *file, int line)
{
    atomic_fetch_add(&check_failures, 1);
    printf("FAILED %s (%s:%d): ", check_current, file, line);
}

static inline bool check_that(bool holds, const char *text, const char *file, int line)
{
    if (!holds) {
        check_failed(file, line);
        printf("%s\n", text);
    }
    return holds;
}

static inline void check_int(intmax_t got, intmax_t want, const char *text,
                             const char *file, int line)
{
    if (got != want) {
        check_failed(file, line);
        printf("%s is %" PRIdMAX ", not %" PRIdMAX "\n", text, got, want);
    }
}

static inline void check_str(const char *got, const char *want, const char *text,
                             const char *file, int line)
{
    if (got == NULL || want == NULL ? got != want : strcmp(got, want) != 0) {
        check_failed(file, line);
        printf("%s is \"%s\", not \"%s\"\n", text, got != NULL ? got : "(null)",
               want != NULL ? want : "(null)");
    }
}

static inline void check_mem(const void *got, size_t size, const void *want,
                             size_t want_size, const char *text, const char *file,
                             int line)
{
    if (size != want_size || (size != 0 && memcmp(got, want, size) != 0)) {
        check_failed(file, line);
        printf("%s is \"%.*s\" (%zu bytes), not \"%.*s\" (%zu bytes)\n", text, (int)size,
               (const char *)got, size, (int)want_size, (const char *)want, want_size);
    }
}

/* Whether this process makes a round of a loop, by the round's number in that loop. */
static inline bool check_mine(long round)
{
    return round % check_parts == check_part - 1;
}

static inline void check_read_part(void)
{
    const char *text = getenv("CHECK_PART");
    char *end = NULL;

    if (text != NULL) {
        check_part = strtol(text, &end, 10);
        check_parts = *end == '/' ? strtol(end + 1, &end, 10) : 0;
        if (*end != '\0' || check_part < 1 || check_part > check_parts) {
            printf("CHECK_PART must have the form \"2/4\", not \"%s\"\n", text);
            exit(1);
        }
    }
}

static inline bool check_wanted(const struct check_test *test, int argc, char **argv)
{
    bool wanted = argc < 2;

    for (int i = 1; i < argc; i++) {
        wanted = wanted || strcmp(argv[i], test->name) == 0;
    }
    return wanted && (test->in_parts || check_part == 1);
}

static inline int check_run(const struct check_test *tests, size_t count, int argc,
                            char **argv)
{
    size_t run = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    check_read_part();
    for (size_t i = 0; i < count; i++) {
        if (check_wanted(&tests[i], argc, argv)) {
            check_current = tests[i].name;
            tests[i].run();
            run++;
        }
    }
    printf("%zu tests, %d checks failed\n", run, atomic_load(&check_failures));
    return run == 0 || atomic_load(&check_failures) != 0;
}

#endif
