/* Test of the index of words on SQLite while allocations and system calls fail, one alone
 * and all from one on. Every call ends with success or a clear error, and after the fault
 * every run is indexed, once, and found.
 *
 * PARTS: 2
 * LINK: -Wl,--wrap=open -Wl,--wrap=fstat -Wl,--wrap=ftruncate -Wl,--wrap=fcntl
 * LINK: -Wl,--wrap=pread -Wl,--wrap=pwrite -Wl,--wrap=mmap
 */
#include "words/index.h"

#include "check.h"
#include "fault_files.h"
#include "store_help.h"

#define RUNS 3

static rl_run *runs[RUNS]; /* made before the faults */
static const atomic_bool never;

/* Passes as the thread makes them, until there is nothing to do or one fails. */
static rl_status work(rl_words_index *index)
{
    rl_err err = {.code = RL_OK};
    rl_status status = RL_OK;
    bool more = true;

    for (int i = 0; i < 20 && more && status == RL_OK; i++) {
        status = index->ops->work(index, &never, &more, &err);
    }
    if (status != RL_BUSY) {
        check_error(status, &err);
    }
    return status;
}

/* How many runs have a word; -1 if that failed. */
static int find(rl_words_index *index, const char *text)
{
    const rl_words_query query = {.text = text, .since = RL_TIME_NONE, .limit = 10};
    rl_words_found found = {.count = 0};
    rl_err err = {.code = RL_OK};
    rl_status status;

    rl_buf_init(&found.ids, RL_BUF_MAX);
    status = index->ops->find(index, &query, &found, &err);
    if (status != RL_BUSY && status != RL_CONFIG) {
        check_error(status, &err);
    }
    rl_buf_free(&found.ids);
    return status == RL_OK ? (int)found.count : -1;
}

static void index_some(void)
{
    const rl_batch batch = {runs, RUNS, RL_JOURNAL, RL_WAIT};
    unsigned kinds = atomic_exchange(&fault.kinds, 0);
    rl_words_index *index = NULL;
    rl_store *store;
    char path[HELP_PATH];
    rl_err err = {.code = RL_OK};

    fresh_path(path);
    store = open_store(path);
    help_need(rl_sqlite_words_new(store, RL_WORDS_ON, &index, &err) == RL_OK, "an index");
    CHECK_INT(store->ops->write(store, &batch, &err), RL_OK);
    atomic_store(&fault.kinds, kinds);
    (void)work(index);
    (void)find(index, "tea");
    fault_over();
    for (int i = 0; i < 10 && find(index, "tea") != RUNS; i++) {
        (void)work(index);
    }
    CHECK_INT(find(index, "tea"), RUNS);
    CHECK_INT(find(index, "answer"), 1);
    CHECK_INT(sql_int(path, "SELECT count(*) FROM run_words_text WHERE run_words_text "
                            "MATCH 'tea'"),
              RUNS);
    index->ops->free(index);
    store->ops->close(store);
    remove(path);
}

static void test_the_index_survives_faults(void)
{
    static const struct fault_plan plans[] = {
        {"the core's memory", FAULT_MEMORY, ENOMEM, 5, 0, false},
        {"SQLite's memory", FAULT_SQLITE_MEMORY, ENOMEM, 200, 200, false},
        {"EIO", FAULT_FILE, EIO, 5, 0, false},
        {"ENOSPC", FAULT_WRITE, ENOSPC, 2, 0, false},
        {"locks", FAULT_LOCK, EAGAIN, 5, 0, true},
    };

    fault_install();
    the_migrations();
    for (int i = 0; i < RUNS; i++) {
        const char *names[] = {"r0", "r1", "r2"};

        runs[i] = new_run("w", names[i], "completed");
        set_text(runs[i], RL_INPUTS, "{\"text\": \"tea\"}");
    }
    set_text(runs[1], RL_NODE_LOGS,
             "[{\"node\":\"n\",\"calls\":[{\"outputs\":[{\"content\":\"an "
             "\\u0061nswer\"}]}]}]");
    for (size_t i = 0; i < sizeof plans / sizeof *plans; i++) {
        fault_everywhere(&plans[i], index_some);
    }
    for (int i = 0; i < RUNS; i++) {
        rl_run_free(runs[i]);
    }
}

static const struct check_test tests[] = {CHECK_LOOP(test_the_index_survives_faults)};

CHECK_MAIN(tests)
