/* The migrations. See migrate.h. */
#include "store/migrate.h"

#include "core/alloc.h"

#include <string.h>

void rl_migration_set_free(rl_migration_set *set)
{
    for (size_t i = 0; i < set->count; i++) {
        rl_free((void *)set->list[i].name);
        rl_free((void *)set->list[i].sql);
        rl_free((void *)set->list[i].checksum);
    }
    rl_free(set->list);
    memset(set, 0, sizeof *set);
}

bool rl_migration_has(const rl_applied *applied, const rl_migration *migration)
{
    return (applied->numbers >> (migration->number - 1) & 1) != 0;
}

static bool is_of_indexes(const rl_migration *migration)
{
    return strncmp(migration->sql, RL_MIGRATION_INDEXES,
                   sizeof RL_MIGRATION_INDEXES - 1) == 0;
}

size_t rl_migration_next(const rl_migrations *known, const rl_applied *applied,
                         bool later, size_t at)
{
    while (at < known->count && (rl_migration_has(applied, &known->list[at]) ||
                                 (later && is_of_indexes(&known->list[at])))) {
        at++;
    }
    return at;
}

bool rl_migration_lacks_indexes(const rl_migrations *known, const rl_applied *applied)
{
    size_t at = rl_migration_next(known, applied, false, 0);

    while (at < known->count && !is_of_indexes(&known->list[at])) {
        at = rl_migration_next(known, applied, false, at + 1);
    }
    return at < known->count;
}

void rl_migration_say_later(const char *where, rl_notices *notices)
{
    rl_notices_add(notices, RL_NOTICE_WARNING,
                   "%.300s has so many runs that building new indexes takes a while: run "
                   "`runlog migrate apply` at a convenient time; other programs can "
                   "read and write meanwhile. Until then some reads are slower",
                   where);
}

void rl_migration_plain_sql(const rl_migration *migration, rl_buf *sql)
{
    const char *rest = migration->sql, *found;
    const size_t len = sizeof RL_MIGRATION_CONCURRENTLY - 1;

    while (is_of_indexes(migration) &&
           (found = strstr(rest, RL_MIGRATION_CONCURRENTLY)) != NULL) {
        rl_buf_add(sql, rest, (size_t)(found - rest));
        rest = found + len;
    }
    rl_buf_add(sql, rest, strlen(rest) + 1);
}

bool rl_migration_statement(const char **text, rl_buf *statement)
{
    const char *end = strstr(*text, ";\n");

    rl_buf_reset(statement, RL_BUF_MAX);
    if (end != NULL) {
        rl_buf_add(statement, *text, (size_t)(end - *text));
        rl_buf_add_char(statement, '\0');
        *text = end + 2;
    }
    return end != NULL;
}

rl_status rl_migration_check(const rl_migrations *known, int number, const char *checksum,
                             rl_applied *applied, rl_err *err)
{
    const rl_migration *expected;
    rl_status status = RL_OK;

    if (number < 1 || (size_t)number > known->count) {
        status =
            rl_err_set(err, RL_STORE,
                       "the database's schema is newer than this code: it has migration "
                       "%d, this version of runlog knows %zu; upgrade runlog",
                       number, known->count);
    }
    if (status == RL_OK) {
        expected = &known->list[number - 1];
        if (strcmp(expected->checksum, checksum) != 0) {
            status = rl_err_set(
                err, RL_STORE,
                "the checksum of migration %s has changed since it was applied "
                "(%.12s then, %.12s now): restore the file, and put the change "
                "into a new migration",
                expected->name, checksum, expected->checksum);
        }
    }
    if (status != RL_OK && err != NULL) {
        err->unusable = true;
    }
    if (status == RL_OK) {
        applied->numbers |= UINT64_C(1) << (number - 1);
        applied->newest =
            (size_t)number > applied->newest ? (size_t)number : applied->newest;
    }
    return status;
}
