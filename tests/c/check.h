/* A small harness for the C tests.
 *
 * A program holds tests of one subject: void functions without arguments, listed in an
 * array, and a main made by CHECK_MAIN:
 *
 *     static void test_grows(void) { CHECK(rl_buf_len(&buf) == 3); }
 *     static const struct check_test tests[] = {CHECK_TEST(test_grows)};
 *     CHECK_MAIN(tests)
 *
 * A check that fails is counted and the test goes on; REQUIRE leaves the test, for what
 * the rest cannot do without. Checks may be made from several threads. A program runs
 * all its tests, or those named as arguments, and exits with 1 when one has failed.
 */
#ifndef RUNLOG_TESTS_CHECK_H
#define RUNLOG_TESTS_CHECK_H

#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct check_test {
    const char *name;
    void (*run)(void);
};

static const char *check_current = "";
static atomic_int check_failures;

/* clang-format off */
#define CHECK_TEST(function) {#function, function}
/* clang-format on */
#define CHECK(cond) ((void)check_that((cond), #cond, __FILE__, __LINE__))
#define CHECK_INT(got, want) \
    check_int((intmax_t)(got), (intmax_t)(want), #got, __FILE__, __LINE__)
#define CHECK_STR(got, want) check_str((got), (want), #got, __FILE__, __LINE__)
/* For text that ends by its length; want is a string literal. */
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

static inline bool check_wanted(const char *name, int argc, char **argv)
{
    bool wanted = argc < 2;

    for (int i = 1; i < argc; i++) {
        wanted = wanted || strcmp(argv[i], name) == 0;
    }
    return wanted;
}

static inline int check_run(const struct check_test *tests, size_t count, int argc,
                            char **argv)
{
    size_t run = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < count; i++) {
        if (check_wanted(tests[i].name, argc, argv)) {
            check_current = tests[i].name;
            tests[i].run();
            run++;
        }
    }
    printf("%zu tests, %d checks failed\n", run, atomic_load(&check_failures));
    return run == 0 || atomic_load(&check_failures) != 0;
}

#endif
