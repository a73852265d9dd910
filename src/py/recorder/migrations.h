/* The migrations of a database, from the package runlog.migrations. */
#ifndef RL_PY_MIGRATIONS_H
#define RL_PY_MIGRATIONS_H

#include "py/base/state.h"
#include "store/migrate.h"

/* Fills an empty set; `dialect` is "sqlite", "postgres" or "pgvector". 0, or -1 with an
 * exception set. The caller frees the set in both cases. */
int rl_load_migrations(const char *dialect, rl_migration_set *set);

#endif
