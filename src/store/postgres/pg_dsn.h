/* Reads a libpq connection string, without a connection.
 *
 * Threads: any. No state.
 */
#ifndef RL_PG_DSN_H
#define RL_PG_DSN_H

#include "core/buf.h"
#include "core/err.h"

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct rl_pg_dsn {
    unsigned count;      /* of the hosts that it lists, at least 1 */
    uint64_t timeout_ns; /* its connect_timeout, for each host; 0 without */
} rl_pg_dsn;

/* How messages name the settings that have one. */
#define RL_PG_DSN "POSTGRES_DSN"
#define RL_PG_READ_DSN "read_dsn (POSTGRES_READ_DSN)"

/* Checks a DSN, the value of the setting `name`: one that can't be parsed, that has a
 * password in the wrong place, or a value that libpq would refuse only when it connects,
 * is a permanent error. No message quotes anything of it but the names of its keywords.
 * RL_STORE, RL_NOMEM. */
rl_status rl_pg_dsn_check(const char *dsn, const char *name, rl_pg_dsn *found,
                          rl_err *err);

/* Whether an '@' stands where libpq would take what is before it, or a part of it, for a
 * host, the name of a database or another setting. */
bool rl_pg_dsn_is_misplaced(const char *dsn);

/* The rest of a URI behind its scheme; NULL for keywords and values. */
const char *rl_pg_dsn_uri_rest(const char *dsn);

/* Whether it holds a password or another secret; true for one that can't be parsed. */
bool rl_pg_dsn_has_secret(const char *dsn);

/* The settings that libpq would use for a DSN: its own, else the environment's, else the
 * defaults. */
typedef struct rl_pg_settings {
    PQconninfoOption *given, *defaults; /* owned */
    bool parsed;                        /* the DSN is well-formed */
} rl_pg_settings;

/* RL_NOMEM, with nothing in it. A DSN that can't be parsed says nothing. */
rl_status rl_pg_settings_read(rl_pg_settings *settings, const char *dsn, rl_err *err);
void rl_pg_settings_free(rl_pg_settings *settings);

/* Whether a value that messages show may have a user, a password or another setting in
 * it. */
bool rl_pg_settings_are_suspect(const rl_pg_settings *settings);

/* A setting by its keyword, "" without one; and the name of the database, by default the
 * user's. Borrowed. */
const char *rl_pg_setting(const rl_pg_settings *settings, const char *keyword);
const char *rl_pg_setting_database(const rl_pg_settings *settings);

/* A host; for the addresses of the own machine "localhost". */
const char *rl_pg_plain_host(const char *host);

/* Appends a text that is the same for two DSNs that lead to the same tables: server,
 * database, user and options, with libpq's defaults and its environment. False when it
 * can't be parsed, or without memory. */
bool rl_pg_dsn_place(const char *dsn, rl_buf *place);

#endif
