/* Test of the thread that fills the index of words: many threads record, search, and ask
 * for the index to be made anew, all at once. For ThreadSanitizer, too.
 */
#include "words/words.h"

#include "check.h"
#include "store_help.h"

#include <pthread.h>

#define THREADS 4
#define EACH 25

static rl_recorder *recorder;
static rl_words *words;

/* How many runs have a word; *waiting as that of rl_words_search. */
static size_t count_found(const char *text, int64_t *waiting)
{
    const rl_words_query query = {.text = text, .since = RL_TIME_NONE, .limit = 1000};
    rl_err err = {.code = RL_OK};
    size_t width, count;
    rl_rows rows;

    (void)rl_shape_columns(RL_SHAPE_SUMMARY, &width);
    rl_rows_init(&rows);
    CHECK_INT(rl_words_search(words, &query, &rows, waiting, &err), RL_OK);
    count = rl_rows_cells(&rows) / width;
    rl_rows_free(&rows);
    return count;
}

static void *record_and_search(void *arg)
{
    const int first = *(const int *)arg * EACH;
    rl_words_stats stats;
    rl_err err = {.code = RL_OK};

    for (int i = first; i < first + EACH; i++) {
        char name[16];
        rl_run *run;
        int64_t waiting;

        snprintf(name, sizeof name, "r%d", i);
        run = new_run("w", name, "completed");
        set_text(run, RL_OUTPUTS, "{\"text\": \"tea\"}");
        CHECK_INT(rl_recorder_write(recorder, run, RL_JOURNAL, &err), RL_OK);
        rl_run_free(run);
        if (i % 10 == 0) {
            (void)count_found("tea", &waiting);
            rl_words_get_stats(words, &stats);
        }
        if (i == EACH) {
            CHECK_INT(rl_words_reset(words, RL_WORDS_ON, &err), RL_OK);
        }
    }
    return NULL;
}

static void test_threads(void)
{
    char path[HELP_PATH];
    pthread_t threads[THREADS];
    int numbers[THREADS];
    int64_t waiting = 1;
    size_t found = 0;
    rl_err err = {.code = RL_OK};

    fresh_path(path);
    help_need(rl_words_new(RL_WORDS_ON, &words, &err) == RL_OK, "an index");
    help_need(new_recorder_with(path, rl_words_companion(words), &recorder, &err) ==
                  RL_OK,
              "a recorder");
    for (int i = 0; i < THREADS; i++) {
        numbers[i] = i;
        help_need(pthread_create(&threads[i], NULL, record_and_search, &numbers[i]) == 0,
                  "a thread");
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    while (waiting > 0) { /* each search waits for a pass of the thread */
        found = count_found("tea", &waiting);
    }
    CHECK_INT(found, THREADS * EACH);
    CHECK_INT(count_found("coffee", &waiting), 0);
    close_recorder(recorder);
    rl_recorder_free(recorder);
}

static const struct check_test tests[] = {CHECK_TEST(test_threads)};

CHECK_MAIN(tests)
