/* Standbys. See pg_standby.h. */
#include "store/postgres/pg_standby.h"

#include "store/postgres/pg_dsn.h"
#include "store/postgres/pg_migrate.h"
#include "store/postgres/pg_target.h"
#include "store/postgres/postgres_sql.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An LSN as PostgreSQL writes it: two hexadecimal numbers. 0 for any other text. */
static uint64_t parse_lsn(const char *text)
{
    unsigned high, low;

    return sscanf(text, "%8X/%8X", &high, &low) == 2 ? (uint64_t)high << 32 | low : 0;
}

rl_status rl_pg_position_read(rl_pg_conn *conn, rl_pg_position *position, rl_err *err)
{
    PGresult *result = NULL;
    rl_status status =
        rl_pg_conn_exec(conn, RL_PG_POSITION, 0, NULL, false, &result, err);

    memset(position, 0, sizeof *position);
    if (status == RL_OK && PQntuples(result) == 1) {
        position->recovering = PQgetvalue(result, 0, 0)[0] == 't';
        position->lsn = parse_lsn(PQgetvalue(result, 0, 1));
        position->age =
            PQgetisnull(result, 0, 2) ? -1 : strtod(PQgetvalue(result, 0, 2), NULL);
        snprintf(position->server_start, sizeof position->server_start, "%s",
                 PQgetvalue(result, 0, 3));
        position->pooled =
            strtol(PQgetvalue(result, 0, 4), NULL, 10) != (long)PQbackendPID(conn->pg);
    }
    PQclear(result);
    return status;
}

/* Whether two ids are of different things, as far as both are known. */
static bool differ(const char *one, const char *other)
{
    return one[0] != '\0' && other[0] != '\0' && strcmp(one, other) != 0;
}

rl_status rl_pg_standby_check(rl_pg_conn *conn, const rl_target *primary,
                              const rl_migrations *known, rl_err *err)
{
    rl_target target = {.place = ""};
    rl_applied applied = {0};
    size_t missing = 0;
    rl_status status = rl_pg_target_read(conn, &target, err);

    if (status == RL_OK && target.cluster[0] == '\0') {
        status = rl_pg_target_read_cluster(conn, &target, err); /* it has no tables */
    }
    if (status == RL_OK && (differ(target.database, primary->database) ||
                            differ(target.cluster, primary->cluster))) {
        return rl_err_set(err, RL_CONFIG,
                          RL_PG_READ_DSN " leads to another database than postgres_dsn "
                                         "(POSTGRES_DSN): name a hot standby of that "
                                         "server, and the same database on it");
    }
    if (status == RL_OK) {
        status = rl_pg_migrate_read(conn, known, &applied, err);
        missing = rl_migration_next(known, &applied, true, 0);
    }
    if (status == RL_OK && missing < known->count) {
        status = rl_err_set(err, RL_STORE,
                            "PostgreSQL: the standby of " RL_PG_READ_DSN
                            " lacks tables of runlog's (migration %d): it has not "
                            "replayed them from its primary; see pg_stat_wal_receiver "
                            "there",
                            known->list[missing].number);
        if (err != NULL) {
            err->retryable = true;
        }
    }
    return status;
}
