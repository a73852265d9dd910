/* Shared by the tests with a PostgreSQL server: a connection of the test's own, beside
 * the store's.
 */
#ifndef RUNLOG_TESTS_SERVER_HELP_H
#define RUNLOG_TESTS_SERVER_HELP_H

#include "store/postgres/postgres.h"

#include "store_help.h"

#include <libpq-fe.h>

static PGconn *watcher; /* NULL until connect_watcher */
static const atomic_bool never;

static inline void ignore_notice(void *ctx, const char *text)
{
    (void)ctx;
    (void)text;
}

/* Connects the watcher to the server of TEST_DSN, unless it is connected. */
static inline void connect_watcher(void)
{
    help_need(getenv("TEST_DSN") != NULL, "TEST_DSN names no database");
    if (watcher == NULL) {
        watcher = PQconnectdb(getenv("TEST_DSN"));
        help_need(PQstatus(watcher) == CONNECTION_OK, PQerrorMessage(watcher));
        PQsetNoticeProcessor(watcher, ignore_notice, NULL);
    }
}

/* The first cell of the result that a statement has for the watcher, "" for none. Valid until the next call. */
static inline const char *server_text(const char *sql)
{
    static char text[200];
    PGresult *result = PQexec(watcher, sql);

    if (PQresultStatus(result) == PGRES_FATAL_ERROR) {
        snprintf(text, sizeof text, "%s", PQresultErrorMessage(result));
    } else {
        snprintf(text, sizeof text, "%s",
                 PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "");
    }
    PQclear(result);
    return text;
}

/* A store on the database of TEST_DSN. */
static inline rl_store *connect_store(void)
{
    rl_postgres_options options = {.dsn = getenv("TEST_DSN"),
                                   /* for busy machines, and sanitizers */
                                   .timeout_ns = UINT64_C(600000000000),
                                   .pool = 1,
                                   .stop = &never};
    rl_store *store = NULL;
    rl_err err = {.code = RL_OK};

    help_need(rl_postgres_new(&options, postgres_migrations(), &store, &err) == RL_OK &&
                  store->ops->prepare(store, &err) == RL_OK,
              err.text);
    return store;
}

#endif
