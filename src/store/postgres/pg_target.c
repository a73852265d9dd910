/* Which database it is. See pg_target.h. */
#include "store/postgres/pg_target.h"

#include "core/hash.h"
#include "store/postgres/pg_dsn.h"
#include "store/postgres/postgres_sql.h"

#include <stdio.h>
#include <string.h>

/* Of a URI with an '@' too many: what is behind the last one, as the password ends there at
 * the latest; nothing if that is in the query, which may have a password itself. */
static void write_end(const char *dsn, char place[RL_TARGET_TEXT])
{
    const char *end = strrchr(dsn, '@') + 1, *query = strchr(dsn, '?');

    if (query == NULL || query > end) {
        snprintf(place, RL_TARGET_TEXT, "%.*s", (int)strcspn(end, "?"), end);
    }
}

static void write_place(const rl_pg_settings *settings, char place[RL_TARGET_TEXT])
{
    const char *host = rl_pg_setting(settings, "host");
    const char *options = rl_pg_setting(settings, "options");
    const char *service = rl_pg_setting(settings, "service");
    char more[24] = "";

    host = host[0] != '\0' ? host : rl_pg_setting(settings, "hostaddr");
    if (options[0] != '\0' || service[0] != '\0') {
        snprintf(more, sizeof more, " #%08x",
                 (unsigned)(rl_hash(options, strlen(options)) ^
                            rl_hash(service, strlen(service)) * 3));
    }
    snprintf(place, RL_TARGET_TEXT, "%.120s:%.20s/%.80s%s", rl_pg_plain_host(host),
             rl_pg_setting(settings, "port"), rl_pg_setting_database(settings), more);
}

rl_status rl_pg_target_place(const char *dsn, char place[RL_TARGET_TEXT], rl_err *err)
{
    rl_pg_settings settings;
    rl_status status = rl_pg_settings_read(&settings, dsn, err);

    place[0] = '\0';
    if (status == RL_OK && settings.parsed && rl_pg_dsn_is_misplaced(dsn)) {
        write_end(dsn, place);
    } else if (status == RL_OK && settings.parsed &&
               !rl_pg_settings_are_suspect(&settings)) {
        write_place(&settings, place);
    }
    rl_pg_settings_free(&settings);
    return status;
}

static void copy_cell(const PGresult *result, int column, char *out, size_t size)
{
    const bool found = PQntuples(result) == 1;

    snprintf(out, size, "%s", found ? PQgetvalue(result, 0, column) : "");
}

/* Runs one of the statements. One that the role may not run, or whose table is missing,
 * leaves both ids unknown. */
static rl_status read_ids(rl_pg_conn *conn, const char *sql, rl_target *target,
                          rl_err *err)
{
    PGresult *result = NULL;
    rl_err own = {.code = RL_OK};
    rl_status status = rl_pg_conn_exec(conn, sql, 0, NULL, false, &result, &own);

    copy_cell(result, 0, target->database, sizeof target->database);
    copy_cell(result, 1, target->cluster, sizeof target->cluster);
    PQclear(result);
    if (status == RL_STORE && !own.retryable && !rl_pg_conn_lost(conn)) {
        status = RL_OK;
    } else if (status != RL_OK && err != NULL) {
        *err = own;
    }
    return status;
}

rl_status rl_pg_target_read_cluster(rl_pg_conn *conn, rl_target *target, rl_err *err)
{
    return read_ids(conn, RL_PG_CLUSTER_ONLY, target, err);
}

rl_status rl_pg_target_read(rl_pg_conn *conn, rl_target *target, rl_err *err)
{
    rl_status status = read_ids(conn, RL_PG_DATABASE, target, err);

    if (status == RL_OK && target->database[0] == '\0') {
        status = read_ids(conn, RL_PG_DATABASE_ONLY, target, err);
    }
    return status;
}
