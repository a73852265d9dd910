/* The list of migrations that this version of runlog knows.
 *
 * Ownership: rl_migrations borrows its texts; rl_migration_set owns them.
 * Threads: read-only.
 */
#ifndef RL_MIGRATE_H
#define RL_MIGRATE_H

#include "core/buf.h"
#include "core/err.h"
#include "core/notice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How the text of a migration begins that builds and drops indexes and does nothing else.
 * Its statements end with ";" at the end of a line, and may be executed again after some
 * of them were. Of a large table it is left to rl_recorder_build_indexes: it takes long,
 * and nothing but the speed of reads and the size of the database depends on it. */
#define RL_MIGRATION_INDEXES "-- Indexes only.\n"
/* The word in its statements without which PostgreSQL builds in a transaction. */
#define RL_MIGRATION_CONCURRENTLY "CONCURRENTLY "

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

/* Which migrations a database has. */
typedef struct rl_applied {
    uint64_t numbers; /* bit n - 1: migration n, of which there are at most 64 */
    size_t newest;    /* 0: none */
} rl_applied;

/* Compares a row of runlog_migrations (number, checksum) with the known migrations, and
 * adds it to the applied ones. RL_STORE, with err->unusable set, when the file has changed
 * since the migration was applied, or when the database has a migration that this version
 * does not know. */
rl_status rl_migration_check(const rl_migrations *known, int number, const char *checksum,
                             rl_applied *applied, rl_err *err);

bool rl_migration_has(const rl_applied *applied, const rl_migration *migration);

/* Whether the database lacks a migration of indexes. */
bool rl_migration_lacks_indexes(const rl_migrations *known, const rl_applied *applied);

/* The first known migration from `at` on that the database lacks, or known->count.
 * `later`: those of indexes do not count. */
size_t rl_migration_next(const rl_migrations *known, const rl_applied *applied,
                         bool later, size_t at);

/* Logs that migrations of indexes are left to `runlog migrate apply`. `notices` may be
 * NULL. */
void rl_migration_say_later(const char *where, rl_notices *notices);

/* Appends the text of a migration as it can be executed in a transaction, and a NUL. */
void rl_migration_plain_sql(const rl_migration *migration, rl_buf *sql);

/* Copies the next statement of a migration of indexes from *text to `statement`, with a
 * NUL, and moves *text behind it; false at the end. The caller checks statement->failed. */
bool rl_migration_statement(const char **text, rl_buf *statement);

#endif
