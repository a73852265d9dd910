/* Test of meaning/index/indexer.h through a recorder, against a scripted server
 * (scripted_embeddings.py): many threads, forks, failing allocations, and a close while
 * the server does not answer.
 *
 * PARTS: 2
 * NEEDS: http
 */
#include "meaning/meaning.h"
#include "record/recorder/recorder.h"

#include "check.h"
#include "fault_help.h"
#include "http_help.h"
#include "store_help.h"

#include <pthread.h>
#include <sys/wait.h>

#define THREADS 4
#define EACH 40
#define LEFT "SELECT count(*) FROM run_embeddings WHERE state <> 'embedded'"
#define COUNT "SELECT count(*) FROM run_embeddings"

static char path[HELP_PATH], url[HELP_URL];
static rl_meaning *meaning; /* of the last recorder */

/* Before SQLite is used. */
__attribute__((constructor)) static void install_faults(void)
{
    fault_install();
}

/* Makes a recorder that embeds, and sets `meaning` to its companion; NULL with an error
 * in err. */
static rl_recorder *new_embedder(rl_err *err)
{
    rl_config config = {.sqlite_path = rl_strdup(path), .max_payload = 1 << 20};
    rl_meaning_config embedding = {
        .openai_key = rl_strdup("sk-s3cret"),
        .openai_base_url = rl_strdup(url),
        .model = rl_strdup("m"),
        .timeout_ns = SECONDS(20),
    };
    rl_recorder *recorder = NULL;

    if (!own_migrations(&config.sqlite, the_migrations()) || config.sqlite_path == NULL ||
        embedding.openai_key == NULL || embedding.openai_base_url == NULL ||
        embedding.model == NULL) {
        rl_meaning_config_free(&embedding);
        rl_config_free(&config);
        (void)rl_err_nomem(err);
    } else if (rl_meaning_new(&embedding, &meaning, err) != RL_OK) {
        rl_config_free(&config);
    } else if (rl_recorder_new(&config, rl_meaning_companion(meaning), &recorder, err) !=
               RL_OK) {
        recorder = NULL;
    }
    return recorder;
}

static rl_recorder *begin(const char *steps)
{
    rl_err err = {.code = RL_OK};
    rl_recorder *recorder;

    fresh_path(path);
    script(url, steps);
    recorder = new_embedder(&err);
    help_need(recorder != NULL, err.text);
    return recorder;
}

static rl_run *text_run(const char *run_id)
{
    rl_run *run = new_run("w", run_id, "completed");
    char outputs[100];

    snprintf(outputs, sizeof outputs, "{\"text\": \"the text of %s\"}", run_id);
    set_text(run, RL_OUTPUTS, outputs);
    help_need(rl_run_seal(run, NULL) == RL_OK, "sealing a run");
    return run;
}

static void log_text(rl_recorder *recorder, const char *run_id)
{
    rl_run *run = text_run(run_id);
    rl_err err = {.code = RL_OK};

    CHECK_STR(rl_recorder_write(recorder, run, RL_JOURNAL, &err) == RL_OK ? "" : err.text,
              "");
    rl_run_free(run);
}

static rl_status flush(rl_recorder *recorder, double seconds)
{
    rl_err err = {.code = RL_OK};

    return rl_recorder_flush(recorder, rl_monotonic_ns() + SECONDS(seconds), &err);
}

struct writer {
    rl_recorder *recorder;
    int number;
    pthread_t thread;
};

/* Logs runs, gets statistics, and embeds words while the indexer works. */
static void *write_texts(void *ctx)
{
    const struct writer *writer = ctx;
    rl_embeddings vector = {.values = NULL};
    rl_meaning_stats stats;
    char name[40];
    rl_err err = {.code = RL_OK};

    for (int i = 0; i < EACH; i++) {
        snprintf(name, sizeof name, "%d.%d", writer->number, i);
        log_text(writer->recorder, name);
        if (i % 10 == 0) {
            rl_meaning_get_stats(meaning, &stats);
            CHECK_INT(rl_meaning_embed(meaning, "a word", 6,
                                       rl_monotonic_ns() + SECONDS(60), &vector, &err),
                      RL_OK);
            rl_embeddings_free(&vector);
        }
    }
    return NULL;
}

static void test_many_threads_log_and_embed(void)
{
    rl_recorder *recorder = begin("emb");
    struct writer writers[THREADS];
    rl_meaning_stats stats;

    for (int i = 0; i < THREADS; i++) {
        writers[i] = (struct writer){.recorder = recorder, .number = i};
        help_need(pthread_create(&writers[i].thread, NULL, write_texts, &writers[i]) == 0,
                  "a thread");
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(writers[i].thread, NULL);
    }
    CHECK_INT(flush(recorder, 60), RL_OK);
    rl_meaning_get_stats(meaning, &stats);
    CHECK_INT(stats.embedded, THREADS * EACH);
    rl_recorder_free(recorder);
    CHECK_INT(sql_int(path, COUNT), THREADS * EACH);
    CHECK_INT(sql_int(path, LEFT), 0);
    CHECK_INTACT(path);
}

/* A child that is forked while the indexer works has an indexer of its own. */
static void test_children_embed_their_runs(void)
{
    rl_recorder *recorder = begin("emb");
    char name[40];

    for (int i = 0; i < 5; i++) {
        pid_t child;
        int status = -1;

        snprintf(name, sizeof name, "parent.%d", i);
        log_text(recorder, name);
        child = fork();
        if (child == 0) {
            snprintf(name, sizeof name, "child.%d", i);
            log_text(recorder, name);
            _exit(flush(recorder, 60) == RL_OK ? 0 : 1);
        }
        CHECK(waitpid(child, &status, 0) == child && status == 0);
    }
    CHECK_INT(flush(recorder, 60), RL_OK);
    rl_recorder_free(recorder);
    CHECK_INT(sql_int(path, COUNT), 10);
    CHECK_INT(sql_int(path, LEFT), 0);
}

/* A close does not wait for the server, and lets others claim the rows. */
static void test_close_does_not_wait_for_a_stalled_server(void)
{
    rl_recorder *recorder = begin("stall");
    uint64_t start;

    log_text(recorder, "one");
    CHECK_INT(flush(recorder, 0.3),
              RL_TIMEOUT); /* the indexer waits for the server by then */
    start = rl_monotonic_ns();
    rl_recorder_close(recorder, start + SECONDS(0.2));
    CHECK(seconds_since(start) < 10); /* the time-out is 20 s */
    rl_recorder_free(recorder);
    CHECK_SQL(path, "SELECT state || next_attempt_at FROM run_embeddings", "pending0");
}

static void test_transient_errors_are_retried(void)
{
    rl_recorder *recorder = begin("500,500,close,emb.nojson,emb.few,emb.twice,emb");
    rl_meaning_stats stats;

    for (int i = 0; i < 10; i++) {
        char name[40];

        snprintf(name, sizeof name, "%d", i);
        log_text(recorder, name);
    }
    CHECK_INT(flush(recorder, 60), RL_OK);
    rl_meaning_get_stats(meaning, &stats);
    CHECK_INT(stats.waiting, 0);
    CHECK_INT(stats.failed, 0);
    CHECK_STR(stats.error, "");
    rl_recorder_free(recorder);
    CHECK_INT(sql_int(path, LEFT), 0);
}

/* Whatever allocation fails: the run is embedded after the fault. */
static void without_memory(void)
{
    unsigned kinds = atomic_exchange(&fault.kinds, 0);
    rl_recorder *recorder = begin("emb");
    rl_run *run = text_run("one");
    rl_err err = {.code = RL_OK};
    rl_status status;

    atomic_store(&fault.kinds, kinds);
    status = rl_recorder_write(recorder, run, RL_JOURNAL, &err);
    check_error(status, &err);
    (void)flush(recorder, 0.1);
    fault_over();
    if (status != RL_OK) {
        CHECK_INT(rl_recorder_write(recorder, run, RL_JOURNAL, &err), RL_OK);
    }
    rl_run_free(run);
    free(sql_text(path, "UPDATE run_embeddings SET next_attempt_at = 0")); /* its lease */
    CHECK_INT(flush(recorder, 60), RL_OK);
    rl_recorder_free(recorder);
    CHECK_INT(sql_int(path, COUNT), 1);
    CHECK_INT(sql_int(path, LEFT), 0);
    remove(path);
}

static void test_runs_are_embedded_after_failed_allocations(void)
{
    static const struct fault_plan plan = {
        "the core's memory", FAULT_MEMORY, ENOMEM, 20, 40, false};

    the_migrations();
    fault_everywhere(&plan, without_memory);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_many_threads_log_and_embed),
    CHECK_TEST(test_children_embed_their_runs),
    CHECK_TEST(test_close_does_not_wait_for_a_stalled_server),
    CHECK_TEST(test_transient_errors_are_retried),
    CHECK_LOOP(test_runs_are_embedded_after_failed_allocations),
};

CHECK_MAIN(tests)
