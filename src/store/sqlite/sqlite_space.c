/* Free space of a SQLite file. See sqlite_space.h. */
#include "store/sqlite/sqlite_space.h"

#include "store/sqlite/sqlite_sql.h"
#include "store/sqlite/sqlite_step.h"

typedef struct reclaiming {
    rl_sqlite_file *file;
    rl_reclaim *reclaim;
} reclaiming;

/* Reads how much is free, and the bytes of a page. */
static rl_status read_space(rl_sqlite_conn *conn, rl_reclaim *reclaim, int64_t *page,
                            rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    rl_status status = rl_sqlite_conn_stmt(conn, RL_SQLITE_SPACE, &stmt, err);
    bool found = false;

    if (status == RL_OK) {
        status = rl_sqlite_conn_next(conn, stmt, &found, err);
    }
    if (found) {
        *page = sqlite3_column_int64(stmt, 2);
        reclaim->can = sqlite3_column_int(stmt, 0) != 0;
        reclaim->left = sqlite3_column_int64(stmt, 1) * *page;
    }
    sqlite3_reset(stmt);
    return status;
}

/* Gives so many pages back at most, until the step is over. */
static rl_status shrink(const reclaiming *self, rl_sqlite_conn *conn, int64_t pages,
                        uint64_t start, rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    rl_status status = rl_sqlite_conn_stmt(conn, RL_SQLITE_SHRINK, &stmt, err);
    bool found = status == RL_OK;

    for (int64_t done = 0; found && done < pages &&
                           !rl_sqlite_step_is_over(self->file, start, (size_t)done);
         done++) {
        status = rl_sqlite_conn_next(conn, stmt, &found, err);
    }
    sqlite3_reset(stmt);
    return status;
}

static rl_status reclaim_step(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    const reclaiming *self = ctx;
    rl_reclaim *reclaim = self->reclaim;
    rl_status status = rl_sqlite_conn_run(conn, RL_SQLITE_BEGIN, err);
    const uint64_t start = rl_monotonic_ns();
    int64_t before = 0, page = 0;

    if (status == RL_OK) {
        status = read_space(conn, reclaim, &page, err);
        before = reclaim->left;
    }
    if (status == RL_OK && reclaim->can && before > reclaim->keep) {
        status = shrink(self, conn, (before - reclaim->keep) / page, start, err);
        if (status == RL_OK) {
            status = read_space(conn, reclaim, &page, err);
        }
    }
    if (status == RL_OK) {
        status = rl_sqlite_conn_run(conn, RL_SQLITE_COMMIT, err);
    }
    if (status == RL_OK) {
        reclaim->returned += before - reclaim->left;
        reclaim->pause_ns = rl_sqlite_step_pause(start);
    }
    return status;
}

rl_status rl_sqlite_reclaim(rl_sqlite_file *file, rl_reclaim *reclaim, rl_err *err)
{
    reclaiming self = {file, reclaim};

    return rl_sqlite_step_waits(file, &reclaim->waits, &reclaim->pause_ns)
               ? RL_OK
               : rl_sqlite_file_write(file, false, RL_WAIT, reclaim_step, &self, err);
}

static rl_status rewrite(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    const int rc = sqlite3_exec(conn->db, RL_SQLITE_REWRITE, NULL, NULL, NULL);

    (void)ctx;
    return rc == SQLITE_OK ? RL_OK : rl_sqlite_conn_error(conn, rc, err);
}

rl_status rl_sqlite_rewrite(rl_sqlite_file *file, rl_err *err)
{
    rl_status status = rl_sqlite_file_write(file, true, RL_WAIT, rewrite, NULL, err);

    return status == RL_OK ? rl_sqlite_file_empty_wal(file, err) : status;
}
