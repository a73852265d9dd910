/* The list of migrations that this version of runlog knows.
 *
 * Ownership: rl_migrations borrows its texts; rl_migration_set owns them.
 * Threads: read-only.
 */
#ifndef RL_MIGRATE_H
#define RL_MIGRATE_H

#include "core/err.h"

#include <stddef.h>

typedef struct rl_migration {
    int number;           /* from 1, without gaps */
    const char *name;     /* the file's name, 001_create_workflow_runs.sql */
    const char *sql;      /* the file's text, any number of statements */
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

/* Frees the list and texts, not the struct. */
void rl_migration_set_free(rl_migration_set *set);

static inline rl_migrations rl_migrations_of(const rl_migration_set *set)
{
    return (rl_migrations){set->list, set->count};
}

/* Compares a row of runlog_migrations (number, checksum) with the known migrations.
 * RL_STORE, with err->unusable set, when the file has changed since the migration was
 * applied, or when the database has a migration that this version does not know. */
rl_status rl_migration_check(const rl_migrations *known, int number, const char *checksum,
                             rl_err *err);

#endif
