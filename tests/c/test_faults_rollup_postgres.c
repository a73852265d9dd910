/* Test of the roll-up on PostgreSQL while libpq's functions, poll and allocations fail, one
 * alone and all from one on. Every call ends with success or a clear error; after the fault
 * no transaction is left, and the figures are those of a count from scratch.
 *
 * PARTS: 2
 * NEEDS: postgres
 * LINK: -Wl,--wrap=PQconnectdbParams -Wl,--wrap=PQsetnonblocking -Wl,--wrap=PQsendQuery
 * LINK: -Wl,--wrap=PQsendQueryParams -Wl,--wrap=PQsendPrepare -Wl,--wrap=PQgetResult
 * LINK: -Wl,--wrap=PQsendQueryPrepared -Wl,--wrap=PQenterPipelineMode -Wl,--wrap=PQflush
 * LINK: -Wl,--wrap=PQpipelineSync -Wl,--wrap=PQexitPipelineMode -Wl,--wrap=PQconsumeInput
 * LINK: -Wl,--wrap=PQconninfoParse -Wl,--wrap=PQconndefaults -Wl,--wrap=poll
 */
#include "check.h"
#include "rollup_help.h"

#include "fault_libpq.h"
#include "server_help.h"

#define TABLES 6

static const char *const tables[TABLES] = {
    "workflow_runs",        "run_rollup_state", "run_rollup",
    "run_rollup_workflows", "run_rollup_nodes", "run_rollup_marks",
};

/* Has the watcher run statements. */
static void change(const char *sql)
{
    PGresult *result = PQexec(watcher, sql);

    help_need(PQresultStatus(result) == PGRES_COMMAND_OK, PQerrorMessage(watcher));
    PQclear(result);
}

/* Runs a statement, whose %s is a table, for each table. */
static void change_tables(const char *before, const char *format, const char *after)
{
    rl_buf sql;

    rl_buf_init(&sql, RL_BUF_MAX);
    rl_buf_add_text(&sql, before);
    for (int i = 0; i < TABLES; i++) {
        for (const char *at = format; *at != '\0'; at++) {
            if (*at == '@') {
                rl_buf_add_text(&sql, tables[i]);
            } else {
                rl_buf_add_char(&sql, *at);
            }
        }
    }
    rl_buf_printf(&sql, "%s", after);
    help_need(!sql.failed, "memory");
    change(sql.data);
    rl_buf_free(&sql);
}

/* No trigger sees what happens here. */
#define UNSEEN "BEGIN; SET LOCAL session_replication_role = replica;"

static void empty(void)
{
    change_tables(UNSEEN, "DELETE FROM @;", "COMMIT");
}

static void save(void)
{
    change_tables("", "DROP TABLE IF EXISTS saved_@; CREATE TABLE saved_@ AS TABLE @;",
                  "");
}

static void restore(void)
{
    change_tables(UNSEEN, "DELETE FROM @; INSERT INTO @ SELECT * FROM saved_@;",
                  "COMMIT");
}

static void delete_elsewhere(const char *run_id)
{
    char sql[100];

    snprintf(sql, sizeof sql, "DELETE FROM workflow_runs WHERE run_id = '%s'", run_id);
    change(sql);
}

static rl_rollup_db *open_rollup(rl_store *store)
{
    rl_rollup_db *db = NULL;
    rl_err err = {.code = RL_OK};

    help_need(rl_pg_rollup_new(store, &db, &err) == RL_OK, "a roll-up");
    return db;
}

/* Waits until only the watcher has a transaction: the server takes a moment to learn that
 * a connection was closed. One whose backend still starts may begin its transaction, and
 * end it, after that. */
static void check_transactions(void)
{
    static const char *const sql =
        "SELECT state || ': ' || left(query, 100) FROM pg_stat_activity WHERE datname = "
        "current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL AND "
        "backend_type = 'client backend'";

    const char *open = server_text(sql);

    for (int i = 0; i < 1000 && open[0] != '\0'; i++) {
        usleep(10000);
        open = server_text(sql);
    }
    CHECK_STR(open, "");
}

static void play(void (*part)(rl_store *store, rl_rollup_db *db))
{
    const unsigned kinds = atomic_exchange(&fault.kinds, 0);
    rl_rollup_db *db;
    rl_store *store;

    restore();
    store = connect_store();
    db = open_rollup(store);
    atomic_store(&fault.kinds, kinds);
    part(store, db);
    fault_over();
    check_transactions();
    check_history(db);
    db->ops->free(db);
    store->ops->close(store);
}

static void first_part(void)
{
    play(count_and_read);
}

static void second_part(void)
{
    play(count_anew);
}

static void set_up(void)
{
    rl_rollup_db *db;
    rl_store *store;

    fault_install();
    connect_watcher();
    store = connect_store();
    db = open_rollup(store);
    make_figures(store, db);
    empty();
    make_history(store, db, delete_elsewhere);
    save();
    db->ops->free(db);
    store->ops->close(store);
}

static void test_the_figures_survive_faults(void)
{
    static const struct fault_plan plans[] = {
        {"the core's memory", FAULT_MEMORY, ENOMEM, 20, 60, false},
        {"libpq", FAULT_SERVER, EIO, 40, 60, false},
        {"poll", FAULT_SYSTEM, EIO, 5, 20, false},
    };

    set_up();
    for (size_t i = 0; i < sizeof plans / sizeof *plans; i++) {
        fault_everywhere(&plans[i], first_part);
        fault_everywhere(&plans[i], second_part);
    }
    rl_buf_free(&wanted);
}

static const struct check_test tests[] = {CHECK_LOOP(test_the_figures_survive_faults)};

CHECK_MAIN(tests)
