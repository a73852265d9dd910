/* Making the index of words on SQLite. See sqlite_make.h. */
#include "words/sqlite_make.h"

#include "store/sqlite/sqlite_step.h"
#include "words/sqlite_find.h"
#include "words/sqlite_words_sql.h"

#include <string.h>

#define LEAN_SINCE 3043000 /* the SQLite that deletes without contents */

#define MAKE(storage)                                             \
    {                                                             \
        RL_SQLITE_WORDS_MAKE(storage RL_SQLITE_WORDS_UNICODE),    \
            RL_SQLITE_WORDS_MAKE(storage RL_SQLITE_WORDS_TRIGRAM) \
    }

static rl_status explain(rl_sqlite_conn *conn, int rc, rl_err *err)
{
    return rc == SQLITE_ERROR &&
                   strstr(sqlite3_errmsg(conn->db), "no such module") != NULL
               ? rl_sqlite_words_lacks_fts5(err)
               : rl_sqlite_conn_error(conn, rc, err);
}

static rl_status run_sql(rl_sqlite_conn *conn, const char *sql, rl_err *err)
{
    const int rc = sqlite3_exec(conn->db, sql, NULL, NULL, NULL);

    return rc == SQLITE_OK ? RL_OK : explain(conn, rc, err);
}

/* Makes the table, and puts the index at its beginning. */
static rl_status create(rl_sqlite_conn *conn, bool trigram, rl_err *err)
{
    static const char *const statements[2][2] = {MAKE(RL_SQLITE_WORDS_WHOLE),
                                                 MAKE(RL_SQLITE_WORDS_LEAN)};
    const bool lean = sqlite3_libversion_number() >= LEAN_SINCE;
    sqlite3_stmt *stmt = NULL;
    rl_status status = run_sql(conn, statements[lean][trigram], err);

    if (status == RL_OK) {
        status = rl_sqlite_conn_stmt(conn, RL_SQLITE_WORDS_ADD_STATE, &stmt, err);
    }
    if (stmt != NULL) {
        sqlite3_bind_text(stmt, 1, trigram ? "trigram" : "words", -1, SQLITE_STATIC);
        status = rl_sqlite_conn_step(conn, stmt, err);
    }
    return status;
}

/* What a transaction of this file is asked to do. */
typedef struct making {
    rl_sqlite_file *file;
    rl_words_mode mode;
    bool more;
} making;

static rl_status make_index(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    const making *self = ctx;
    rl_status status = rl_sqlite_conn_run(conn, RL_SQLITE_BEGIN, err);
    bool made = false, as_words;
    int64_t position;

    if (status == RL_OK) {
        status = rl_sqlite_words_state(conn, &made, &position, &as_words, err);
    }
    if (status == RL_OK && !made) {
        status = create(conn, self->mode == RL_WORDS_BY_TRIGRAM, err);
    }
    return status == RL_OK ? rl_sqlite_conn_run(conn, RL_SQLITE_COMMIT, err) : status;
}

rl_status rl_sqlite_words_make(rl_sqlite_file *file, rl_words_mode mode, rl_wait wait,
                               rl_err *err)
{
    making self = {file, mode, false};

    return rl_sqlite_file_write(file, false, wait, make_index, &self, err);
}

/* Whether a table of this name is there. */
static rl_status has_table(rl_sqlite_conn *conn, const char *name, bool *has, rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    rl_status status = rl_sqlite_conn_stmt(conn, RL_SQLITE_WORDS_HAS_TABLE, &stmt, err);

    *has = false;
    if (status == RL_OK) {
        sqlite3_bind_text(stmt, 1, name, -1, SQLITE_STATIC);
        status = rl_sqlite_conn_next(conn, stmt, has, err);
    }
    sqlite3_reset(stmt);
    return status;
}

rl_status rl_sqlite_words_has_old(rl_sqlite_conn *conn, bool *has, rl_err *err)
{
    return has_table(conn, RL_SQLITE_WORDS_OLD, has, err);
}

/* The runs in run_words_changed stay there: who read one before this transaction may write
 * it after. */
static rl_status reset_index(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    making *self = ctx;
    bool made = false, as_words = true, has_table_ = false;
    int64_t position;
    rl_status status = rl_sqlite_conn_run(conn, RL_SQLITE_BEGIN, err);

    if (status == RL_OK) {
        status = rl_sqlite_words_has_old(conn, &self->more, err);
    }
    if (status == RL_OK && self->more) {
        return RL_OK; /* that has to go first */
    }
    if (status == RL_OK) {
        status = rl_sqlite_words_state(conn, &made, &position, &as_words, err);
    }
    if (status == RL_OK) {
        status = has_table(conn, RL_SQLITE_WORDS_TABLE, &has_table_, err);
    }
    if (status == RL_OK && has_table_) {
        status = run_sql(conn, RL_SQLITE_WORDS_RENAME, err);
    }
    if (status == RL_OK && made) {
        status = rl_sqlite_conn_run(conn, RL_SQLITE_WORDS_FORGET, err);
    }
    if (status == RL_OK) {
        status = create(conn,
                        self->mode == RL_WORDS_BY_TRIGRAM ||
                            (self->mode == RL_WORDS_OFF && made && !as_words),
                        err);
    }
    return status == RL_OK ? rl_sqlite_conn_run(conn, RL_SQLITE_COMMIT, err) : status;
}

rl_status rl_sqlite_words_reset(rl_sqlite_file *file, rl_words_mode mode, rl_err *err)
{
    making self = {file, mode, false};
    rl_status status;

    do {
        status = rl_sqlite_file_write(file, false, RL_WAIT, reset_index, &self, err);
        for (bool more = self.more; status == RL_OK && more;) {
            status = rl_sqlite_words_remove_old(file, RL_WAIT, &more, err);
        }
    } while (status == RL_OK && self.more);
    return status;
}

/* Deletes rows of a table in which FTS5 keeps the old one, until the step is over. */
static rl_status empty_table(const making *self, rl_sqlite_conn *conn, const char *table,
                             const char *sql, uint64_t start, bool *more, rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    rl_status status = has_table(conn, table, more, err);
    size_t done = 0;

    if (status == RL_OK && *more) {
        status = rl_sqlite_conn_stmt(conn, sql, &stmt, err);
    }
    for (; status == RL_OK && *more && !rl_sqlite_step_is_over(self->file, start, done);
         done++) {
        status = rl_sqlite_conn_step(conn, stmt, err);
        *more = status == RL_OK && sqlite3_changes(conn->db) > 0;
    }
    return status;
}

static rl_status remove_step(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    static const char *const tables[][2] = {
        {RL_SQLITE_WORDS_OLD "_data", RL_SQLITE_WORDS_EMPTY_OLD("_data")},
        {RL_SQLITE_WORDS_OLD "_docsize", RL_SQLITE_WORDS_EMPTY_OLD("_docsize")},
        {RL_SQLITE_WORDS_OLD "_content", RL_SQLITE_WORDS_EMPTY_OLD("_content")}};
    making *self = ctx;
    rl_status status = rl_sqlite_conn_run(conn, RL_SQLITE_BEGIN, err);
    const uint64_t start = rl_monotonic_ns();

    if (status == RL_OK) {
        status = rl_sqlite_words_has_old(conn, &self->more, err);
    }
    if (status == RL_OK && self->more) {
        bool more = false;

        for (int i = 0; status == RL_OK && !more && i < 3; i++) {
            status =
                empty_table(self, conn, tables[i][0], tables[i][1], start, &more, err);
        }
        if (status == RL_OK && !more) {
            status = run_sql(conn, RL_SQLITE_WORDS_DROP_OLD, err);
            self->more = false;
        }
    }
    return status == RL_OK ? rl_sqlite_conn_run(conn, RL_SQLITE_COMMIT, err) : status;
}

rl_status rl_sqlite_words_remove_old(rl_sqlite_file *file, rl_wait wait, bool *more,
                                     rl_err *err)
{
    making self = {file, RL_WORDS_OFF, false};
    rl_status status = rl_sqlite_file_write(file, false, wait, remove_step, &self, err);

    *more = status == RL_OK && self.more;
    return status;
}
