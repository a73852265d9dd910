/* Fault injection into the functions of libpq, and into poll. A program has the linker wrap
 * them:
 *
 * LINK: -Wl,--wrap=PQconnectdbParams -Wl,--wrap=PQsetnonblocking -Wl,--wrap=PQsendQuery
 * LINK: -Wl,--wrap=PQsendQueryParams -Wl,--wrap=PQsendPrepare -Wl,--wrap=PQgetResult
 * LINK: -Wl,--wrap=PQsendQueryPrepared -Wl,--wrap=PQenterPipelineMode -Wl,--wrap=PQflush
 * LINK: -Wl,--wrap=PQpipelineSync -Wl,--wrap=PQexitPipelineMode -Wl,--wrap=PQconsumeInput
 * LINK: -Wl,--wrap=PQconninfoParse -Wl,--wrap=PQconndefaults -Wl,--wrap=poll
 */
#ifndef RUNLOG_TESTS_FAULT_LIBPQ_H
#define RUNLOG_TESTS_FAULT_LIBPQ_H

#include "fault_help.h"

#include <libpq-fe.h>
#include <poll.h>

/* The server can't be reached, from here until check_all_stored. The DSN stays the same:
 * a run waits for the database that it was meant for. */
static atomic_bool away;

PGconn *__real_PQconnectdbParams(const char *const *keys, const char *const *values,
                                 int expand);
PGconn *__wrap_PQconnectdbParams(const char *const *keys, const char *const *values,
                                 int expand);

/* A connection fails as to an address where no server listens. */
PGconn *__wrap_PQconnectdbParams(const char *const *keys, const char *const *values,
                                 int expand)
{
    if (atomic_load(&away) || fault_strikes(FAULT_SERVER)) {
        return PQconnectdb("host=/nowhere");
    }
    return __real_PQconnectdbParams(keys, values, expand);
}

WRAP(FAULT_SERVER, -1, int, PQsetnonblocking, (PGconn * pg, int on), (pg, on))
WRAP(FAULT_SERVER, 0, int, PQsendQuery, (PGconn * pg, const char *sql), (pg, sql))
WRAP(FAULT_SERVER, 0, int, PQsendQueryParams,
     (PGconn * pg, const char *sql, int count, const Oid *types,
      const char *const *values, const int *lengths, const int *formats, int format),
     (pg, sql, count, types, values, lengths, formats, format))
WRAP(FAULT_SERVER, 0, int, PQsendPrepare,
     (PGconn * pg, const char *name, const char *sql, int count, const Oid *types),
     (pg, name, sql, count, types))
WRAP(FAULT_SERVER, 0, int, PQsendQueryPrepared,
     (PGconn * pg, const char *name, int count, const char *const *values,
      const int *lengths, const int *formats, int format),
     (pg, name, count, values, lengths, formats, format))
WRAP(FAULT_SERVER, 0, int, PQenterPipelineMode, (PGconn * pg), (pg))
WRAP(FAULT_SERVER, 0, int, PQpipelineSync, (PGconn * pg), (pg))
WRAP(FAULT_SERVER, 0, int, PQexitPipelineMode, (PGconn * pg), (pg))
WRAP(FAULT_SERVER, -1, int, PQflush, (PGconn * pg), (pg))
WRAP(FAULT_SERVER, 0, int, PQconsumeInput, (PGconn * pg), (pg))
/* NULL without a message means no memory. */
WRAP(FAULT_SERVER, NULL, PQconninfoOption *, PQconninfoParse,
     (const char *dsn, char **message), (dsn, message))
WRAP(FAULT_SERVER, NULL, PQconninfoOption *, PQconndefaults, (void), ())

/* The wait for an answer. */
WRAP(FAULT_SYSTEM, -1, int, poll, (struct pollfd * fds, nfds_t count, int millis),
     (fds, count, millis))

/* Without memory for a result libpq gives an error without a code. */
PGresult *__real_PQgetResult(PGconn *pg);
PGresult *__wrap_PQgetResult(PGconn *pg);

PGresult *__wrap_PQgetResult(PGconn *pg)
{
    PGresult *result = __real_PQgetResult(pg);

    if (result != NULL && fault_strikes(FAULT_SERVER)) {
        PQclear(result);
        result = PQmakeEmptyPGresult(NULL, PGRES_FATAL_ERROR);
    }
    return result;
}

#endif
