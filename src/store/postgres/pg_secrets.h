/* What a message about the connection may not show: the password, and what of a password
 * libpq takes for something else where a DSN is written wrongly.
 * Pure functions; thread-safe.
 */
#ifndef RL_PG_SECRETS_H
#define RL_PG_SECRETS_H

#include "core/err.h"

#include <libpq-fe.h>

/* Puts "PostgreSQL: " and a message into err, without the passwords of the connection and
 * of the DSN. */
void rl_pg_set_message(const PGconn *pg, const char *dsn, const char *message,
                       rl_err *err);

#endif
