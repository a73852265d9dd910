/* What a PostgreSQL database is. See pg_look.h. */
#include "store/postgres/pg_look.h"

#include "store/postgres/pg_conn.h"
#include "store/postgres/pg_dsn.h"
#include "store/postgres/postgres_sql.h"

#include <string.h>

/* Appends a setting behind the text that separates it from those before. */
static void add_setting(rl_buf *place, const char *before, const char *value,
                        const char *behind)
{
    if (value[0] != '\0') {
        rl_buf_add_text(place, before);
        rl_buf_add_text(place, value);
        rl_buf_add_text(place, behind);
    }
}

rl_status rl_pg_look_place(const char *dsn, rl_buf *place, rl_err *err)
{
    rl_pg_settings settings;
    rl_pg_dsn found;
    const char *host;
    rl_status status = rl_pg_dsn_check(dsn, RL_PG_DSN, &found, err);

    if (status == RL_OK) {
        status = rl_pg_settings_read(&settings, dsn, err);
        host = rl_pg_setting(&settings, "host");
        rl_buf_add_text(place, "postgresql://");
        add_setting(place, "", rl_pg_setting(&settings, "user"), "@");
        add_setting(place, "",
                    host[0] != '\0' ? host : rl_pg_setting(&settings, "hostaddr"), "");
        add_setting(place, ":", rl_pg_setting(&settings, "port"), "");
        add_setting(place, "/", rl_pg_setting_database(&settings), "");
        rl_pg_settings_free(&settings);
    }
    return status == RL_OK && place->failed ? rl_err_nomem(err) : status;
}

/* Appends the text that a statement gives. */
static rl_status add_answer(rl_pg_conn *conn, const char *sql, rl_buf *json, rl_err *err)
{
    PGresult *result = NULL;
    rl_status status = rl_pg_conn_exec(conn, sql, 0, NULL, false, &result, err);

    if (status == RL_OK && PQntuples(result) == 1) {
        rl_buf_add_text(json, PQgetvalue(result, 0, 0));
    }
    PQclear(result);
    return status;
}

rl_status rl_pg_look(const char *dsn, uint64_t timeout_ns, rl_buf *json, rl_err *err)
{
    rl_pg_server server = {.dsn = dsn, .timeout_ns = timeout_ns};
    rl_pg_conn conn;
    rl_pg_dsn found;
    bool has = false;
    rl_status status = rl_pg_dsn_check(dsn, RL_PG_DSN, &found, err);

    rl_pg_sessions_init(&server.lost);
    rl_pg_conn_init(&conn, &server, NULL);
    if (status == RL_OK) {
        status = rl_pg_conn_open(&conn, err);
    }
    if (status == RL_OK) {
        status = rl_pg_conn_has_row(&conn, RL_PG_HAS_MIGRATIONS, &has, err);
    }
    rl_buf_add_text(json, "{\"database\":");
    if (status == RL_OK) {
        status = add_answer(&conn, RL_PG_LOOK, json, err);
    }
    rl_buf_add_text(json, ",\"migrations\":");
    if (status == RL_OK && has) {
        status = add_answer(&conn, RL_PG_LOOK_MIGRATIONS, json, err);
    } else {
        rl_buf_add_text(json, "null");
    }
    rl_buf_add_text(json, "}");
    rl_pg_conn_free(&conn);
    rl_pg_sessions_destroy(&server.lost);
    return status == RL_OK && json->failed ? rl_err_nomem(err) : status;
}
