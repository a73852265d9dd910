/* What the tests of the roll-up on both databases share: a history, a step of the roll-up
 * that may fail anywhere, and what must hold after it.
 *
 * The history is made once, with a roll-up that knows part of it. Each round begins with
 * a copy of that; something fails in what the roll-up does, and then the figures are
 * compared with those of the whole history.
 */
#ifndef RUNLOG_TESTS_ROLLUP_HELP_H
#define RUNLOG_TESTS_ROLLUP_HELP_H

#include "record/recorder/deletion.h"
#include "rollup/database.h"
#include "rollup/form.h"

#include "fault_help.h"

#define HISTORY_RUNS 12
#define HISTORY_START INT64_C(1792540800000000) /* 2026-10-21; microseconds */

static const atomic_bool keep_going;
static rl_buf wanted; /* the figures of the whole history */

/* Run number i: of two workflows, over three blocks and two spans of time. */
static inline rl_run *history_run(int i)
{
    static const int64_t blocks[] = {0, 1, 300};
    char name[24], logs[300];
    rl_run *run;

    snprintf(name, sizeof name, "r%d", i);
    snprintf(logs, sizeof logs,
             "[{\"node\":\"draft\",\"duration_ms\":%d,\"tokens\":{\"total\":%d}},"
             "{\"node\":\"send %d\",\"calls\":[{\"kind\":\"llm\",\"model\":\"m\","
             "\"tokens\":{\"output\":2}}]}]",
             i, i, i % 2);
    run = new_run(i % 3 == 0 ? "a" : "b", name, i == 4 ? "failed" : "completed");
    run->created_at = HISTORY_START + blocks[i % 3] * RL_BLOCK_US + i * INT64_C(1000000);
    run->duration_ms = i;
    set_text(run, RL_NODE_LOGS, logs);
    set_text(run, RL_METADATA, "{\"tokens\":{\"total\":9}}");
    if (i == 4) {
        set_text(run, RL_ERROR_TYPE, "KeyError");
        set_text(run, RL_ERROR_TEXT, "no 17");
    }
    help_need(rl_run_seal(run, NULL) == RL_OK, "sealing a run");
    return run;
}

static inline void write_history(rl_store *store, int from, int until)
{
    rl_err err = {.code = RL_OK};

    for (int i = from; i < until; i++) {
        if (write_run(store, history_run(i), true, &err) != RL_OK) {
            help_need(false, err.text);
        }
    }
}

/* Steps as the thread makes them, until there is nothing to do or one fails. */
static inline rl_status count_runs(rl_rollup_db *db, rl_err *err)
{
    rl_status status = RL_OK;
    bool more = true;

    for (int i = 0; i < 50 && more && status == RL_OK; i++) {
        uint64_t counted;
        unsigned damaged;

        status = db->ops->work(db, &keep_going, &more, &counted, &damaged, err);
        CHECK_INT(status == RL_OK ? damaged : 0, 0);
    }
    return status;
}

/* Lines in any order; sorted, they say the same of the same figures. */
typedef struct lines {
    char list[400][160];
    size_t count;
} lines;

static inline int compare_lines(const void *one, const void *other)
{
    return strcmp(one, other);
}

__attribute__((format(printf, 2, 3))) static inline void add_line(lines *to,
                                                                  const char *format, ...)
{
    va_list args;

    help_need(to->count < sizeof to->list / sizeof *to->list, "room for a line");
    va_start(args, format);
    vsnprintf(to->list[to->count++], sizeof *to->list, format, args);
    va_end(args);
}

static inline void add_buckets(lines *to, const char *of, const rl_histogram *histogram)
{
    for (size_t i = 0; i < histogram->used; i++) {
        add_line(to, "%s bucket %u: %" PRIu64 " of %" PRIu64, of,
                 histogram->buckets[i].place, histogram->buckets[i].count,
                 histogram->total);
    }
}

static inline void add_tokens(lines *to, const char *of, const rl_kinds *tokens)
{
    for (size_t i = 0; i < tokens->used; i++) {
        add_line(to, "%s %s: %" PRIu64, of, tokens->kinds[i].name.text,
                 tokens->kinds[i].count);
    }
}

static inline void add_figures(lines *to, const char *of, const rl_figures *figures)
{
    for (int i = 0; i < RL_OUTCOMES; i++) {
        add_line(to, "%s outcome %d: %" PRIu64, of, i, figures->outcomes[i]);
    }
    add_line(to, "%s calls %" PRIu64 ", greatest %" PRIu64 " %" PRIu64, of,
             figures->llm_calls, figures->repeats, figures->slowest_us);
    add_buckets(to, of, &figures->durations);
    add_buckets(to, of, &figures->sizes);
    add_tokens(to, of, &figures->tokens);
}

/* What sums say, whatever the order in which they were added. */
static inline void add_sums(lines *to, const rl_sums *sums)
{
    add_figures(to, "run", &sums->run);
    for (size_t i = 0; i < sums->node_count; i++) {
        add_figures(to, sums->nodes[i]->name.text, &sums->nodes[i]->figures);
    }
    for (size_t i = 0; i < sums->model_count; i++) {
        add_line(to, "model: %" PRIu64, sums->models[i].calls);
        add_tokens(to, sums->models[i].name.text, &sums->models[i].tokens);
    }
    for (size_t i = 0; i < sums->failure_count; i++) {
        add_line(to, "%s in %s: %" PRIu64, sums->failures[i].error.text,
                 sums->failures[i].examples[0].run.text, sums->failures[i].number);
    }
    for (size_t i = 0; i < sums->way_count; i++) {
        add_line(to, "way %" PRIu64 ": %" PRIu64, sums->ways[i].hash,
                 sums->ways[i].number);
    }
}

static inline void describe(rl_buf *text, const rl_rollup_row *row)
{
    static lines found;
    rl_sums sums = {.folded = 0};

    found.count = 0;
    CHECK(rl_form_read(&sums, row->data.data, row->data.len, false));
    add_sums(&found, &sums);
    rl_sums_free(&sums);
    qsort(found.list, found.count, sizeof *found.list, compare_lines);
    rl_buf_printf(text, "\n%s, workflow %" PRIu64 ", from %" PRId64 "\n",
                  row->wpk_id.text, row->number, row->from);
    for (size_t i = 0; i < found.count; i++) {
        rl_buf_printf(text, "%s\n", found.list[i]);
    }
}

/* Appends what readers get; nothing, if `figures` is NULL. */
static inline rl_status read_figures(rl_rollup_db *db, rl_buf *figures, int64_t *waiting,
                                     rl_err *err)
{
    rl_status status = RL_OK;

    for (int level = RL_LEVEL_BLOCK; level <= RL_LEVEL_SPAN && status == RL_OK; level++) {
        const rl_rollup_query query = {
            .since = RL_TIME_MIN, .until = RL_TIME_MAX, .level = (rl_level)level};
        rl_rollup_rows rows = {.count = 0};

        status = db->ops->read(db, &query, &rows, waiting, err);
        for (size_t i = 0; i < rows.count && status == RL_OK && figures != NULL; i++) {
            describe(figures, &rows.list[i]);
        }
        rl_rollup_rows_free(&rows);
    }
    return status;
}

/* Deletes the run of a name, which the roll-up goes on to count. */
static inline rl_status delete_run(rl_store *store, rl_rollup_db *db, const char *run_id,
                                   rl_err *err)
{
    rl_removal_hook hook = db->ops->removal_hook;
    rl_status status = RL_OK;
    rl_deletion deletion;
    rl_query query;

    hook.ctx = db;
    rl_query_init(&query, RL_SHAPE_BRIEF);
    query.texts[RL_RUN_ID] = run_id;
    rl_deletion_begin(&deletion, &query);
    deletion.removal.hook = &hook;
    while (status == RL_OK && deletion.more) {
        status = rl_deletion_work(&deletion, store, err);
    }
    rl_deletion_end(&deletion);
    return status;
}

/* Checks two texts, of which an error shows the first lines that differ. */
static inline void check_same(const char *got, const char *want)
{
    size_t at = 0, line = 0;

    for (; got[at] != '\0' && got[at] == want[at]; at++) {
        line = got[at] == '\n' ? at + 1 : line;
    }
    if (got[at] != want[at]) {
        char one[2][160];

        snprintf(one[0], sizeof *one, "%.*s", (int)strcspn(got + line, "\n"), got + line);
        snprintf(one[1], sizeof *one, "%.*s", (int)strcspn(want + line, "\n"),
                 want + line);
        CHECK_STR(one[0], one[1]);
    }
}

/* Checks that all is counted, and gives the figures of the whole history. */
static inline void check_figures(rl_rollup_db *db)
{
    rl_err err = {.code = RL_OK};
    int64_t waiting = -1;
    rl_status status;
    rl_buf figures;

    rl_buf_init(&figures, RL_BUF_MAX);
    status = count_runs(db, &err);
    for (int i = 0; i < 6000 && status != RL_OK;
         i++) { /* the server ends the old session */
        usleep(10000);
        status = count_runs(db, &err);
    }
    CHECK_STR(status == RL_OK ? "" : err.text, "");
    status = read_figures(db, &figures, &waiting, &err);
    CHECK_STR(status == RL_OK ? "" : err.text, "");
    CHECK_INT(waiting, 0);
    check_same(figures.len > 0 ? figures.data : "", wanted.data);
    rl_buf_free(&figures);
}

/* A result of a call that may have failed by injection, or met another's lock. */
static inline void check_result(rl_status status, const rl_err *err)
{
    if (status != RL_BUSY) {
        check_error(status, err);
    }
}

/* What a roll-up does in its life. No reset may hide what went wrong. */
static inline void count_and_read(rl_store *store, rl_rollup_db *db)
{
    rl_err err = {.code = RL_OK};
    rl_rollup_size size;
    int64_t waiting;

    check_result(count_runs(db, &err), &err);
    check_result(read_figures(db, NULL, &waiting, &err), &err);
    check_result(db->ops->size(db, &size, &err), &err);
    check_result(db->ops->waiting(db, &waiting, &err), &err);
    check_result(delete_run(store, db, "r5", &err), &err);
    check_result(
        db->ops->mark(db, RL_LEVEL_SPAN, (rl_string){"a", 1}, HISTORY_START, &err), &err);
    check_result(count_runs(db, &err), &err);
}

static inline void count_anew(rl_store *store, rl_rollup_db *db)
{
    rl_err err = {.code = RL_OK};

    (void)store;
    check_result(db->ops->reset(db, &err), &err);
    check_result(count_runs(db, &err), &err);
}

/* After the faults: the figures are right, and so is a count from scratch. */
static inline void check_history(rl_rollup_db *db)
{
    rl_err err = {.code = RL_OK};

    check_figures(db);
    CHECK_INT(db->ops->reset(db, &err), RL_OK);
    check_figures(db);
}

/* Reads the figures of the whole history, in a store that is for nothing else. */
static inline void make_figures(rl_store *store, rl_rollup_db *db)
{
    rl_err err = {.code = RL_OK};
    int64_t waiting = -1;

    write_history(store, 0, HISTORY_RUNS);
    write_history(store, 2, 3);
    rl_buf_init(&wanted, RL_BUF_MAX);
    help_need(count_runs(db, &err) == RL_OK &&
                  read_figures(db, &wanted, &waiting, &err) == RL_OK && waiting == 0 &&
                  !wanted.failed,
              "the figures");
}

/* Makes the history in a store, with a roll-up as it is before a round: most runs are
 * counted, one is new, one was logged again, one deleted by runlog, and one by another
 * program. That is in a block without new runs: of both at once, only the greater figures
 * are known. */
static inline void make_history(rl_store *store, rl_rollup_db *db,
                                void (*delete_elsewhere)(const char *run_id))
{
    rl_err err = {.code = RL_OK};

    write_history(store, 0, HISTORY_RUNS - 1);
    help_need(count_runs(db, &err) == RL_OK, "the roll-up");
    help_need(delete_run(store, db, "r1", &err) == RL_OK, "a deletion");
    delete_elsewhere("r7");
    write_history(store, HISTORY_RUNS - 1, HISTORY_RUNS);
    write_history(store, 2, 3);
}

#endif
