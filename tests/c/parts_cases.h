/* Tests of a run's parts, the same on both databases. The program that includes this
 * defines make_empty_store, sql_of and the tests' list.
 */
#ifndef RUNLOG_TESTS_PARTS_CASES_H
#define RUNLOG_TESTS_PARTS_CASES_H

#include "store_help.h"

/* A store without runs. */
static rl_store *make_empty_store(void);
/* The first cell of a statement's result on the store's database, "" for none. Valid
 * until the next call. */
static const char *sql_of(const char *sql);

#define VALUE_1 "00000000000000000000000000000001"
#define VALUE_F "ffffffffffffffffffffffffffffffff"
#define COUNT_PARTS "SELECT count(*) FROM run_parts"
#define MOST_LOGS 5

/* A sealed log of the graph's run 1, "r". */
static rl_run *make_log(const char *status, const char *node_logs, const char *parts,
                        rl_parts_use use)
{
    rl_run *run = new_own_run(1, "r", status, NULL);

    if (node_logs != NULL) {
        set_text(run, RL_NODE_LOGS, node_logs);
    }
    if (parts != NULL) {
        set_parts(run, parts, use);
    }
    return run;
}

static void write_all(rl_store *store, rl_run **runs, size_t count)
{
    rl_batch batch = {runs, count, RL_SERVER, RL_WAIT};
    rl_err err = {.code = RL_OK};

    if (store->ops->write(store, &batch, &err) != RL_OK) {
        CHECK_STR(err.text, "written");
    }
}

/* The cell without spaces, which jsonb adds; "-" for NULL. */
static const char *text_of(const rl_rows *rows, rl_shape shape, rl_column column,
                           char out[600])
{
    const rl_cell *cell = cell_of(rows, shape, 0, column);
    size_t len = 0;

    if (cell->null) {
        return "-";
    }
    for (size_t i = 0; i < cell->len && len < 599; i++) {
        if (rows->arena.data[cell->at + i] != ' ') {
            out[len++] = rows->arena.data[cell->at + i];
        }
    }
    out[len] = '\0';
    return out;
}

static const char *cell_text(const rl_rows *rows, rl_column column, char out[600])
{
    return text_of(rows, RL_SHAPE_WHOLE, column, out);
}

/* Checks status, node logs and parts of the run "r", or of another. */
static void check_named(rl_store *store, const char *run_id, const char *status,
                        const char *node_logs, const char *parts)
{
    rl_query query;
    rl_rows rows;
    char text[600];

    rl_query_init(&query, RL_SHAPE_WHOLE);
    query.texts[RL_RUN_ID] = run_id;
    query.limit = 1;
    if (ask(store, &query, &rows) == 1) {
        CHECK_STR(cell_text(&rows, RL_STATUS, text), status);
        CHECK_STR(cell_text(&rows, RL_NODE_LOGS, text), node_logs);
        CHECK_STR(cell_text(&rows, RL_PARTS, text), parts);
    } else {
        CHECK_STR("no row", run_id);
    }
    rl_rows_free(&rows);
}

static void check_log(rl_store *store, const char *status, const char *node_logs,
                      const char *parts)
{
    check_named(store, "r", status, node_logs, parts);
}

/* The logs of a run whose node logs have three forms, with an end of the given kind. */
static size_t make_logs(rl_run *logs[MOST_LOGS], rl_parts_use use, const char *last)
{
    logs[0] =
        make_log("running", NULL, "{\"" VALUE_1 "\":\"text\",\"n0000000000\":{\"a\":1}}",
                 RL_PARTS_ADD);
    logs[1] =
        make_log("running", NULL, "{\"n0000000000\":{\"a\":2},\"n0000000001\":{\"b\":1}}",
                 RL_PARTS_ADD);
    logs[2] =
        make_log("running", NULL,
                 "{\"n0000000001\":{\"b\":2},\"" VALUE_F "\":\"}{\\\"\"}", RL_PARTS_ADD);
    logs[3] = make_log("completed",
                       use == RL_PARTS_END ? "[{\"a\":2},{\"b\":2},{\"c\":3}]" : NULL,
                       last, use);
    return 4;
}

#define ENDED_LOGS "[{\"a\":2},{\"b\":2},{\"c\":3}]"
#define ENDED_PARTS "{\"" VALUE_1 "\":\"text\",\"" VALUE_F "\":\"}{\\\"\"}"

static void test_an_open_run_has_its_newest_node_parts(void)
{
    rl_store *store = make_empty_store();
    rl_run *logs[MOST_LOGS];
    size_t count = make_logs(logs, RL_PARTS_END, "{}");

    write_all(store, logs, 1);
    check_log(store, "running", "-",
              "{\"" VALUE_1 "\":\"text\",\"n0000000000\":{\"a\":1}}");
    write_all(store, logs + 2, 1);
    write_all(store, logs + 1, 1); /* late: n1 is newer */
    write_all(store, logs, 2);
    check_log(store, "running", "-",
              "{\"" VALUE_1 "\":\"text\",\"" VALUE_F
              "\":\"}{\\\"\",\"n0000000000\":{\"a\":2},\"n0000000001\":{\"b\":2}}");
    write_all(store, logs, count);
    check_log(store, "completed", ENDED_LOGS, ENDED_PARTS);
    free_batch(logs, count);
    store->ops->close(store);
}

/* Writes the logs in every order, each alone or all in one batch, and then some again. */
static void test_any_order_ends_with_all_node_logs_in_the_row(void)
{
    rl_store *store = make_empty_store();
    rl_run *logs[MOST_LOGS], *order[MOST_LOGS];
    size_t count = make_logs(logs, RL_PARTS_END, "{}"), fits = 0;

    for (unsigned code = 0; code < 256; code++) { /* four digits to base 4 */
        unsigned seen = 0;

        for (unsigned i = 0; i < count; i++) {
            unsigned at = code >> (2 * i) & 3;

            order[i] = logs[at];
            seen |= 1U << at;
        }
        if (seen != 15) {
            continue;
        }
        fits++;
        for (size_t step = 1; step <= count; step += count - 1) { /* one by one, or all */
            for (size_t i = 0; i < count; i += step) {
                write_all(store, order + i, step);
            }
            check_log(store, "completed", ENDED_LOGS, ENDED_PARTS);
            for (size_t i = 0; i < count; i++) {
                write_all(store, order + i, 1);
                check_log(store, "completed", ENDED_LOGS, ENDED_PARTS);
            }
            CHECK_STR(sql_of(COUNT_PARTS), "2");
            sql_of("DELETE FROM workflow_runs");
            CHECK_STR(sql_of(COUNT_PARTS), "0");
        }
    }
    CHECK_INT(fits, 24);
    free_batch(logs, count);
    store->ops->close(store);
}

/* A log that joins comes after those that have the parts, each once or more often. */
static void test_any_repetition_joins_all_node_parts(void)
{
    rl_store *store = make_empty_store();
    rl_run *logs[MOST_LOGS];
    size_t count = make_logs(logs, RL_PARTS_JOIN, "{\"n0000000002\":{\"c\":3}}");

    for (unsigned code = 0; code < 27; code++) { /* three logs in any order, some twice */
        unsigned digits[3] = {code % 3, code / 3 % 3, code / 9};

        for (int i = 0; i < 3; i++) {
            write_all(store, logs + digits[i], 1);
        }
        write_all(store, logs, count);
        check_log(store, "completed", ENDED_LOGS, ENDED_PARTS);
        for (size_t i = 0; i < count; i++) { /* again, which changes nothing */
            write_all(store, logs + i, 1);
            write_all(store, logs, i + 1);
            check_log(store, "completed", ENDED_LOGS, ENDED_PARTS);
        }
        sql_of("DELETE FROM workflow_runs");
    }
    free_batch(logs, count);
    logs[0] = make_log("completed", NULL, "{}", RL_PARTS_JOIN);
    write_all(store, logs, 1); /* a run without nodes */
    check_log(store, "completed", "[]", "-");
    free_batch(logs, 1);
    store->ops->close(store);
}

/* What does not fit into jsonb stays beside the row. */
static void test_too_many_bytes_are_not_joined(void)
{
    static const size_t size = 20000000;
    rl_store *store = make_empty_store();
    rl_run *logs[3];

    for (int i = 0; i < 2; i++) {
        char name[32];
        size_t at;

        snprintf(name, sizeof name, "{\"n%010d\":\"", i);
        logs[i] = make_log("running", NULL, NULL, RL_PARTS_ADD);
        at = rl_run_begin(logs[i]);
        rl_buf_add_text(&logs[i]->arena, name);
        for (size_t j = 0; j < size; j++) {
            rl_buf_add_char(&logs[i]->arena, 'x');
        }
        rl_buf_add_text(&logs[i]->arena, "\"}");
        rl_run_end_parts(logs[i], at, RL_PARTS_ADD);
    }
    logs[2] = make_log("completed", NULL, "{}", RL_PARTS_JOIN);
    write_all(store, logs, 3);
    CHECK_STR(sql_of("SELECT status FROM workflow_runs WHERE node_logs IS NULL"),
              "completed");
    CHECK_STR(sql_of(COUNT_PARTS), "2");
    sql_of("DELETE FROM run_parts WHERE name > 'n0000000000'");
    write_all(store, logs + 2, 1);
    CHECK_STR(sql_of("SELECT length(cast(node_logs AS text)) FROM workflow_runs"),
              "20000004");
    CHECK_STR(sql_of(COUNT_PARTS), "0");
    free_batch(logs, 3);
    store->ops->close(store);
}

/* Parts belong to the row, whatever its name or its id has become. */
static void test_parts_follow_their_row(void)
{
    rl_store *store = make_empty_store();
    rl_run *runs[4];

    runs[0] = new_run("w", "r", "running");
    set_parts(runs[0], "{\"" VALUE_1 "\":\"by name\"}", RL_PARTS_ADD);
    runs[1] = make_log("running", NULL, "{\"n0000000000\":1}", RL_PARTS_ADD);
    runs[2] = new_own_run(2, "r", "running", NULL);
    runs[2]->created_at = 1; /* so it is never ahead of the other one */
    set_parts(runs[2], "{\"" VALUE_F "\":\"two\",\"n0000000000\":2}", RL_PARTS_ADD);
    runs[3] = new_run("w", "r", "completed"); /* another log of the first one */
    set_parts(runs[3], "{\"" VALUE_F "\":\"by name\"}", RL_PARTS_ADD);
    write_all(store, runs, 2); /* the row takes the id of the graph's run */
    check_log(store, "running", "-", "{\"" VALUE_1 "\":\"byname\",\"n0000000000\":1}");
    write_all(store, runs + 2, 1); /* the second of its name is renamed */
    check_named(store, "r~2", "running", "-",
                "{\"" VALUE_F "\":\"two\",\"n0000000000\":2}");
    write_all(store, runs + 3, 1);
    check_log(store, "completed", "-",
              "{\"" VALUE_1 "\":\"byname\",\"" VALUE_F
              "\":\"byname\",\"n0000000000\":1}");
    rl_run_free(runs[3]);
    runs[3] = new_own_run(2, "r", "failed", NULL);
    runs[3]->created_at = 1;
    set_parts(runs[3], "{\"n0000000001\":22}", RL_PARTS_JOIN);
    for (int i = 0; i < 2; i++) {
        write_all(store, runs + 3, 1);
        write_all(store, runs + 2, 1);
        check_named(store, "r~2", "failed", "[2,22]", "{\"" VALUE_F "\":\"two\"}");
    }
    sql_of("DELETE FROM workflow_runs WHERE run_id = 'r~2'");
    CHECK_STR(sql_of("SELECT count(*) FROM run_parts WHERE data = '\"two\"'"), "0");
    CHECK_STR(sql_of(COUNT_PARTS), "3");
    free_batch(runs, 4);
    store->ops->close(store);
}

/* Two runs of one name in one batch, each with parts, beside runs without. */
static void test_a_batch_mixes_runs_with_and_without_parts(void)
{
    rl_store *store = make_empty_store();
    rl_run *runs[6];

    new_mixed_batch(runs);
    set_text(runs[5], RL_STATUS, "running");
    set_parts(runs[0], "{\"n0000000000\":1}", RL_PARTS_ADD);
    set_parts(runs[1], "{\"n0000000000\":2}", RL_PARTS_ADD);
    set_parts(runs[3], "{}", RL_PARTS_JOIN);
    set_parts(runs[5], "{\"" VALUE_1 "\":\"3\"}", RL_PARTS_ADD);
    for (int i = 0; i < 2; i++) {
        write_all(store, runs, 6);
        check_named(store, "r~2", "completed", "-", "{\"n0000000000\":1}");
        check_log(store, "completed", "[2]", "-");
        check_named(store, "r~3", "running", "-", "{\"" VALUE_1 "\":\"3\"}");
        check_named(store, "other", "completed", "-", "-");
    }
    free_batch(runs, 6);
    store->ops->close(store);
}

/* A value may be larger than the limits that databases and drivers like to have. */
static void test_a_value_of_many_megabytes_is_stored(void)
{
    static const size_t size = (size_t)40 << 20;
    rl_store *store = make_empty_store();
    rl_run *run = new_run("w", "r", "completed");
    size_t at = rl_run_begin(run);
    rl_query query;
    rl_rows rows;

    rl_buf_add_text(&run->arena, "{\"" VALUE_1 "\":\"");
    for (size_t i = 0; i < size; i++) {
        rl_buf_add_char(&run->arena, "abcdefgh"[i % 8]);
    }
    rl_buf_add_text(&run->arena, "\"}");
    rl_run_end_parts(run, at, RL_PARTS_ADD);
    write_all(store, &run, 1);
    rl_query_init(&query, RL_SHAPE_WHOLE);
    query.limit = 1;
    CHECK_INT(ask(store, &query, &rows), 1);
    CHECK_INT(cell_of(&rows, RL_SHAPE_WHOLE, 0, RL_PARTS)->len, run->parts.len);
    rl_rows_free(&rows);
    rl_run_free(run);
    store->ops->close(store);
}

/* A thread's row has the values that its payloads name, wherever they do, and no node
 * logs. */
static void test_a_row_of_a_thread_has_the_values_of_its_payloads(void)
{
    static const char *const payloads[][4] = {
        {"{\"a\":[{\"$value\":\"" VALUE_1 "\"}]}", NULL, NULL, "{\"" VALUE_1 "\":\"1\"}"},
        {"{}", "{\"$value\":\"" VALUE_F "\"}", NULL, "{\"" VALUE_F "\":\"f\"}"},
        {"\"$value\"", NULL, "{\"m\":{\"$value\":\"" VALUE_1 "\"}}",
         "{\"" VALUE_1 "\":\"1\"}"},
        {"{\"$value\":5}", "[\"" VALUE_1 "\"]", NULL, "-"},
        {"{\"$value\":\"n0000000000\"}", NULL, NULL, "-"},
    };
    rl_store *store = make_empty_store();
    rl_query query;
    rl_rows rows;
    char text[600];

    for (size_t i = 0; i < sizeof payloads / sizeof *payloads; i++) {
        const char run_id[] = {'r', (char)('0' + i), '\0'};
        rl_run *run = new_run("w", run_id, "running");
        const rl_column columns[] = {RL_INPUTS, RL_OUTPUTS, RL_METADATA};

        for (int j = 0; j < 3; j++) {
            if (payloads[i][j] != NULL) {
                set_text(run, columns[j], payloads[i][j]);
            }
        }
        set_parts(run, "{\"" VALUE_1 "\":\"1\",\"" VALUE_F "\":\"f\",\"n0000000000\":{}}",
                  RL_PARTS_ADD);
        write_all(store, &run, 1);
        rl_query_init(&query, RL_SHAPE_THREAD);
        query.texts[RL_RUN_ID] = run_id;
        query.limit = 1;
        CHECK_INT(ask(store, &query, &rows), 1);
        CHECK_STR(text_of(&rows, RL_SHAPE_THREAD, RL_PARTS, text), payloads[i][3]);
        rl_rows_free(&rows);
        rl_run_free(run);
    }
    store->ops->close(store);
}

#define PARTS_CASES                                                        \
    CHECK_TEST(test_an_open_run_has_its_newest_node_parts),                \
        CHECK_TEST(test_any_order_ends_with_all_node_logs_in_the_row),     \
        CHECK_TEST(test_any_repetition_joins_all_node_parts),              \
        CHECK_TEST(test_too_many_bytes_are_not_joined),                    \
        CHECK_TEST(test_parts_follow_their_row),                           \
        CHECK_TEST(test_a_batch_mixes_runs_with_and_without_parts),        \
        CHECK_TEST(test_a_row_of_a_thread_has_the_values_of_its_payloads), \
        CHECK_TEST(test_a_value_of_many_megabytes_is_stored)

#endif
