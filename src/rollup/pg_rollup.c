/* The roll-up of a PostgreSQL database. */
#include "core/alloc.h"
#include "rollup/database.h"

static rl_status refuse(rl_err *err)
{
    return rl_err_set(err, RL_CONFIG, "PostgreSQL has no roll-up yet");
}

static rl_status pg_work(rl_rollup_db *db, const atomic_bool *stop, bool *more,
                         uint64_t *counted, unsigned *damaged, rl_err *err)
{
    (void)db;
    (void)stop;
    *counted = *damaged = 0;
    *more = false;
    return refuse(err);
}

static rl_status pg_read(rl_rollup_db *db, const rl_rollup_query *query,
                         rl_rollup_rows *rows, int64_t *waiting, rl_err *err)
{
    (void)db;
    (void)query;
    (void)rows;
    (void)waiting;
    return refuse(err);
}

static void pg_after_fork(rl_rollup_db *db)
{
    (void)db;
}

static void pg_free(rl_rollup_db *db)
{
    rl_free(db);
}

static const rl_rollup_db_ops ops = {
    .work = pg_work, .read = pg_read, .after_fork = pg_after_fork, .free = pg_free};

rl_status rl_pg_rollup_new(rl_store *store, rl_rollup_db **db, rl_err *err)
{
    (void)store;
    *db = rl_calloc(1, sizeof **db);
    if (*db == NULL) {
        return rl_err_nomem(err);
    }
    (*db)->ops = &ops;
    return RL_OK;
}
