/* Shared by the tests with a PostgreSQL server: a connection of the test's own, beside
 * the store's.
 */
#ifndef RUNLOG_TESTS_SERVER_HELP_H
#define RUNLOG_TESTS_SERVER_HELP_H

#include "store_help.h"

#include <libpq-fe.h>

static PGconn *watcher; /* NULL until connect_watcher */

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

#endif
