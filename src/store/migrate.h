/* The migrations: what is known, and which of them are still to be applied.
 *
 * Ownership: rl_migrations borrows its texts from whoever made it; rl_migration_set owns them.
 * Threads: read-only.
 */
#ifndef RL_MIGRATE_H
#define RL_MIGRATE_H

#include "core/err.h"

#include <stddef.h>

typedef struct rl_migration {
    int number;           /* 1 and on, without gaps */
    const char *name;     /* the file's name, 001_create_workflow_runs.sql */
    const char *sql;      /* its text, any number of statements */
    const char *checksum; /* SHA-256 of the file, 64 hexadecimal digits */
} rl_migration;

typedef struct rl_migrations {
    const rl_migration *list; /* borrowed, ordered by number */
    size_t count;
} rl_migrations;

/* Migrations that own their list and texts (rl_malloc). */
typedef struct rl_migration_set {
    rl_migration *list;
    size_t count;
} rl_migration_set;

void rl_migration_set_free(rl_migration_set *set); /* what it owns, not the struct */

static inline rl_migrations rl_migrations_of(const rl_migration_set *set)
{
    return (rl_migrations){set->list, set->count};
}

/* Looks at one row of runlog_migrations, a migration that the database has: RL_STORE when
 * its file was changed since, or when the database is newer than this code. */
rl_status rl_migration_check(const rl_migrations *known, int number, const char *checksum,
                             rl_err *err);

#endif
