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

rl_status rl_migration_check(const rl_migrations *known, int number, const char *checksum,
                             rl_err *err)
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
    return status;
}
