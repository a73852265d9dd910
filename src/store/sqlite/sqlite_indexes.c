/* Indexes of a file in use. See sqlite_indexes.h. */
#include "store/sqlite/sqlite_indexes.h"

typedef struct building {
    const rl_migrations *known;
    rl_applied applied;
    const rl_migration *migration;
    const char *statement;
} building;

static rl_status read_applied(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    building *self = ctx;

    return rl_sqlite_migrations(conn, self->known, &self->applied, err);
}

static rl_status execute(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    const building *self = ctx;
    const int rc = sqlite3_exec(conn->db, self->statement, NULL, NULL, NULL);

    return rc == SQLITE_OK ? RL_OK : rl_sqlite_conn_error(conn, rc, err);
}

static rl_status record(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    building *self = ctx;
    rl_status status = read_applied(conn, self, err);

    if (status == RL_OK && !rl_migration_has(&self->applied, self->migration)) {
        status = rl_sqlite_migration_record(conn, self->migration, err);
    }
    return status;
}

static rl_status build(rl_sqlite_file *file, building *self, rl_err *err)
{
    const char *text = self->migration->sql;
    rl_status status = RL_OK;
    rl_buf statement;

    rl_buf_init(&statement, RL_BUF_MAX);
    while (status == RL_OK && rl_migration_statement(&text, &statement)) {
        self->statement = statement.data;
        status = statement.failed
                     ? rl_err_nomem(err)
                     : rl_sqlite_file_write(file, true, RL_WAIT, execute, self, err);
    }
    rl_buf_free(&statement);
    return status == RL_OK ? rl_sqlite_file_write(file, true, RL_WAIT, record, self, err)
                           : status;
}

rl_status rl_sqlite_build_indexes(rl_sqlite_file *file, rl_err *err)
{
    building self = {.known = file->migrations};
    rl_status status =
        rl_sqlite_file_write(file, false, RL_WAIT, read_applied, &self, err);
    size_t at = rl_migration_next(self.known, &self.applied, false, 0);

    while (status == RL_OK && at < self.known->count) {
        self.migration = &self.known->list[at];
        status = build(file, &self, err);
        at = rl_migration_next(self.known, &self.applied, false, at + 1);
    }
    return status;
}
