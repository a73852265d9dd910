/* The schema of a store's tables. See pg_schema.h. */
#include "store/postgres/pg_schema.h"

#include "store/postgres/pg_schema_sql.h"

#include <stdio.h>
#include <string.h>

static void copy_cell(char *out, size_t size, const PGresult *result, int column)
{
    snprintf(out, size, "%s", PQgetvalue(result, 0, column));
}

static rl_status refuse(rl_err *err)
{
    if (err != NULL) {
        err->unusable = true;
    }
    return RL_STORE;
}

/* Whether the client asks for a search_path, in what libpq has put together of the DSN, the
 * environment and a file of services. */
static rl_status asks_for_path(const rl_pg_conn *conn, bool *asks, rl_err *err)
{
    PQconninfoOption *options = PQconninfo(conn->pg);

    *asks = false;
    for (const PQconninfoOption *one = options;
         one != NULL && one->keyword != NULL && !*asks; one++) {
        *asks = one->val != NULL && strcmp(one->keyword, "options") == 0 &&
                (strcasestr(one->val, "search_path") != NULL ||
                 strcasestr(one->val, "search-path") != NULL);
    }
    PQconninfoFree(options);
    return options != NULL ? RL_OK : rl_err_nomem(err);
}

/* Refuses a server that has not got the search_path of the options: a pooler may leave it
 * out, and the runs of all tenants would be in one schema. */
static rl_status check_path(const rl_pg_conn *conn, const PGresult *survey, rl_err *err)
{
    bool asks = false;
    rl_status status = asks_for_path(conn, &asks, err);

    if (status == RL_OK && asks && PQgetvalue(survey, 0, 6)[0] != 't') {
        rl_err_set(err, RL_STORE,
                   "PostgreSQL: the search_path in options of POSTGRES_DSN does not "
                   "arrive at the database %.63s, which has %.200s: a pooler leaves it "
                   "out, as PgBouncer with ignore_startup_parameters. Nothing was "
                   "changed. Leave it out of POSTGRES_DSN, and give each schema a role "
                   "(ALTER ROLE ... SET search_path); or connect without the pooler",
                   PQgetvalue(survey, 0, 2), PQgetvalue(survey, 0, 1));
        status = refuse(err);
    }
    return status;
}

/* Looks for tables that can't be used; see RL_PG_FOREIGN for `applied`. */
static rl_status check_tables(rl_pg_conn *conn, const rl_pg_schema *schema, int applied,
                              rl_err *err)
{
    char number[16];
    const char *values[] = {number};
    PGresult *result = NULL;
    rl_status status;

    snprintf(number, sizeof number, "%d", applied);
    status = rl_pg_conn_exec(conn, RL_PG_FOREIGN, 1, values, false, &result, err);
    if (status == RL_OK && PQntuples(result) > 0) {
        rl_err_set(err, RL_STORE,
                   "PostgreSQL: %.63s in the schema %.63s of the database %.63s is not a "
                   "table of runlog's: %.300s. Nothing was changed. Rename it, or give "
                   "runlog a schema of its own: CREATE SCHEMA runlog, and in "
                   "POSTGRES_DSN options='-c search_path=runlog'",
                   PQgetvalue(result, 0, 0), schema->name, schema->database,
                   PQgetvalue(result, 0, 1));
        status = refuse(err);
    }
    PQclear(result);
    return status;
}

rl_status rl_pg_schema_read(rl_pg_conn *conn, rl_pg_schema *schema, rl_err *err)
{
    PGresult *result = NULL;
    rl_status status = rl_pg_conn_exec(conn, RL_PG_SURVEY, 0, NULL, false, &result, err);

    memset(schema, 0, sizeof *schema);
    if (status == RL_OK && PQntuples(result) == 1) {
        copy_cell(schema->name, sizeof schema->name, result, 0);
        copy_cell(schema->database, sizeof schema->database, result, 2);
        copy_cell(schema->encoding, sizeof schema->encoding, result, 3);
        copy_cell(schema->other, sizeof schema->other, result, 4);
        schema->unbound = strcmp(PQgetvalue(result, 0, 5), "0") != 0;
        status = check_path(conn, result, err);
    }
    if (status == RL_OK && schema->name[0] == '\0') {
        rl_err_set(err, RL_STORE,
                   "PostgreSQL: no schema of search_path (%.200s) exists in the database "
                   "%.63s, or the role %.63s may use none: create one, or set another "
                   "search_path in POSTGRES_DSN, as in options='-c search_path=public'",
                   PQgetvalue(result, 0, 1), schema->database, PQuser(conn->pg));
        status = refuse(err);
        if (err != NULL) {
            err->missing = true;
        }
    }
    PQclear(result);
    return status == RL_OK ? check_tables(conn, schema, -1, err) : status;
}

/* Whether the server stores any UTF-8; SQL_ASCII takes the bytes as they come. */
static bool holds_all(const rl_pg_schema *schema)
{
    return strcmp(schema->encoding, "UTF8") == 0 ||
           strcmp(schema->encoding, "SQL_ASCII") == 0;
}

/* What works, but not as one might think. */
static void say_what_is_odd(rl_pg_conn *conn, const rl_pg_schema *schema, size_t applied)
{
    rl_pg_server *server = conn->server;

    if (!holds_all(schema)) {
        rl_notices_add(
            server->notices, RL_NOTICE_WARNING,
            "the database %s has the encoding %s: a run with a character that "
            "it lacks is rejected, and stored in the table journal_rejected of "
            "the journal; move the tables to a database in UTF8",
            schema->database, schema->encoding);
    }
    if (applied == 0 && schema->other[0] != '\0') {
        rl_notices_add(server->notices, RL_NOTICE_WARNING,
                       "runs are recorded in the schema %s, the first of search_path in "
                       "the database %s; the runs in the schema %s are not seen there",
                       schema->name, schema->database, schema->other);
    }
}

rl_status rl_pg_schema_check(rl_pg_conn *conn, const rl_pg_schema *schema, size_t applied,
                             rl_err *err)
{
    rl_status status = check_tables(conn, schema, (int)applied, err);

    if (status == RL_OK && applied == 0 && !holds_all(schema)) {
        rl_err_set(err, RL_STORE,
                   "PostgreSQL: the database %.63s has the encoding %.31s, which can't "
                   "hold every text: give one in UTF8, as made by CREATE DATABASE runlog "
                   "ENCODING 'UTF8' TEMPLATE template0",
                   schema->database, schema->encoding);
        status = refuse(err);
    }
    if (status == RL_OK) {
        say_what_is_odd(conn, schema, applied);
    }
    return status;
}
