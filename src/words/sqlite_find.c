/* Searches in the index of words on SQLite. See sqlite_find.h. */
#include "words/sqlite_find.h"

#include "words/sqlite_walk.h"
#include "words/sqlite_words_sql.h"
#include "words/terms.h"

#include <string.h>

rl_status rl_sqlite_words_state(rl_sqlite_conn *conn, bool *made, int64_t *position,
                                bool *as_words, rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    rl_status status = rl_sqlite_conn_stmt(conn, RL_SQLITE_WORDS_STATE, &stmt, err);

    *made = false;
    if (status == RL_OK) {
        status = rl_sqlite_conn_next(conn, stmt, made, err);
    }
    if (*made) {
        const char *tokenizer = (const char *)sqlite3_column_text(stmt, 1);

        *position = sqlite3_column_int64(stmt, 0);
        *as_words = tokenizer == NULL || strcmp(tokenizer, "trigram") != 0;
    }
    sqlite3_reset(stmt);
    return status;
}

rl_status rl_sqlite_words_lacks_fts5(rl_err *err)
{
    return rl_err_set(err, RL_CONFIG,
                      "a search by words needs a SQLite with FTS5, and this one (%s) was "
                      "built without",
                      sqlite3_libversion());
}

/* The arguments of a search. */
typedef struct finding {
    const rl_words_query *query;
    rl_words_found *found;
} finding;

static rl_status count_waiting(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    int64_t *waiting = ctx;
    sqlite3_stmt *stmt = NULL;
    bool found = false;
    rl_status status = rl_sqlite_conn_stmt(conn, RL_SQLITE_WORDS_WAITING, &stmt, err);

    if (status == RL_OK) {
        status = rl_sqlite_conn_next(conn, stmt, &found, err);
        *waiting = found ? sqlite3_column_int64(stmt, 0) : 0;
    }
    sqlite3_reset(stmt);
    return status;
}

/* Whether this SQLite has FTS5; true if that can't be known. */
static bool has_fts5(rl_sqlite_conn *conn)
{
    sqlite3_stmt *stmt = NULL;
    bool found = true;
    rl_err ignored;

    if (rl_sqlite_conn_stmt(conn, RL_SQLITE_WORDS_HAS_FTS5, &stmt, &ignored) == RL_OK) {
        (void)rl_sqlite_conn_next(conn, stmt, &found, &ignored);
        sqlite3_reset(stmt);
    }
    return found;
}

static rl_status lacks_index(rl_err *err)
{
    return rl_err_set(err, RL_CONFIG,
                      "no process has made the index of words yet: RUNLOG_WORDS is 0, or "
                      "the file is locked");
}

static rl_status find_runs(rl_sqlite_conn *conn, void *ctx, rl_err *err)
{
    const finding *self = ctx;
    rl_words_found *found = self->found;
    bool made = false, as_words = true;
    int64_t position;
    rl_buf terms;
    rl_status status = rl_sqlite_words_state(conn, &made, &position, &as_words, err);

    rl_buf_init(&terms, RL_BUF_MAX);
    found->ids.len = found->count = 0; /* of an attempt before this one */
    if (status == RL_OK) {
        status = rl_words_terms(self->query->text,
                                as_words ? RL_WORDS_FTS5 : RL_WORDS_TRIGRAM, &terms, err);
    }
    if (status == RL_OK && !has_fts5(conn)) {
        status = rl_sqlite_words_lacks_fts5(err);
    } else if (status == RL_OK && !made) {
        status = lacks_index(err);
    }
    if (status == RL_OK) { /* first: what is indexed meanwhile may not be found */
        status = count_waiting(conn, &found->waiting, err);
    }
    if (status == RL_OK) {
        status = rl_sqlite_words_walk(conn, self->query, terms.data, found, err);
    }
    rl_buf_free(&terms);
    return status == RL_OK && found->ids.failed ? rl_err_nomem(err) : status;
}

rl_status rl_sqlite_words_find(rl_sqlite_file *file, const rl_words_query *query,
                               rl_words_found *found, rl_err *err)
{
    finding self = {query, found};

    return rl_sqlite_file_read(file, find_runs, &self, err);
}

rl_status rl_sqlite_words_waiting(rl_sqlite_file *file, int64_t *waiting, rl_err *err)
{
    return rl_sqlite_file_read(file, count_waiting, waiting, err);
}
