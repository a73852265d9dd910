/* The walk over the runs that a search finds on SQLite. See sqlite_walk.h. */
#include "words/sqlite_walk.h"

#include "core/clock.h"
#include "words/sqlite_words_sql.h"

#include <string.h>

/* Runs with the words that are looked at before those that match the filters are. */
#define FIRST_HITS 2000
/* Runs with the words that are stepped over before FTS5 is asked to seek: that costs as
 * much as some hundred steps. */
#define STEPS 500

typedef struct walk {
    rl_sqlite_conn *conn;
    const rl_words_query *query;
    const char *terms;
    rl_words_found *found;
    const char *status;       /* as it is stored; NULL: any */
    char since[RL_TIME_TEXT]; /* "": any */
    sqlite3_stmt *hits;       /* runs with the words */
    bool has_hit;
    int64_t hit; /* the rowid of the one that the walk is at */
} walk;

/* The statement that gives the runs that match the filters; NULL if no index does. */
static const char *matching(const walk *self)
{
    static const char *const statements[2][2][2] = {
        {{NULL, RL_SQLITE_WORDS_SINCE},
         {RL_SQLITE_WORDS_OF_STATUS(""),
          RL_SQLITE_WORDS_OF_STATUS(RL_SQLITE_WORDS_LATER)}},
        {{RL_SQLITE_WORDS_OF_WORKFLOW(""),
          RL_SQLITE_WORDS_OF_WORKFLOW(RL_SQLITE_WORDS_LATER)},
         {RL_SQLITE_WORDS_OF_BOTH(""), RL_SQLITE_WORDS_OF_BOTH(RL_SQLITE_WORDS_LATER)}}};
    const bool has_status =
        self->status != NULL && strcmp(self->status, RL_SQL_COMPLETED) != 0;

    return statements[self->query->wpk_id != NULL][has_status][self->since[0] != '\0'];
}

static rl_status prepare(walk *self, const char *sql, sqlite3_stmt **stmt, rl_err *err)
{
    rl_status status = rl_sqlite_conn_stmt(self->conn, sql, stmt, err);

    if (status ==
        RL_OK) { /* SQLite refuses those that the statement lacks, which is fine */
        sqlite3_bind_text(*stmt, 2, self->query->wpk_id, -1, SQLITE_STATIC);
        sqlite3_bind_text(*stmt, 3, self->status, -1, SQLITE_STATIC);
        sqlite3_bind_text(*stmt, 4, self->since[0] != '\0' ? self->since : NULL, -1,
                          SQLITE_STATIC);
    }
    return status;
}

static void finish(sqlite3_stmt *stmt)
{
    if (stmt != NULL) {
        sqlite3_reset(stmt);
        sqlite3_clear_bindings(stmt);
    }
}

static rl_status next_hit(walk *self, rl_err *err)
{
    rl_status status = rl_sqlite_conn_next(self->conn, self->hits, &self->has_hit, err);

    self->hit = self->has_hit ? sqlite3_column_int64(self->hits, 0) : 0;
    return status;
}

/* Goes to the newest run with the words whose rowid is at most `run`. */
static rl_status seek_hit(walk *self, int64_t run, rl_err *err)
{
    sqlite3_reset(self->hits);
    sqlite3_bind_text(self->hits, 1, self->terms, -1, SQLITE_STATIC);
    sqlite3_bind_int64(self->hits, 2, run);
    return next_hit(self, err);
}

/* Goes on to `run`, or if it lacks the words, beyond it. */
static rl_status approach(walk *self, int64_t run, rl_err *err)
{
    rl_status status = RL_OK;

    for (int i = 0; status == RL_OK && self->has_hit && self->hit > run; i++) {
        status = i < STEPS ? next_hit(self, err) : seek_hit(self, run, err);
    }
    return status;
}

/* Adds the run that the walk is at, if it matches. */
static rl_status take(walk *self, rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    bool matches = false;
    rl_status status = prepare(self, RL_SQLITE_WORDS_MATCHES, &stmt, err);

    if (status == RL_OK) {
        sqlite3_bind_int64(stmt, 1, self->hit);
        status = rl_sqlite_conn_next(self->conn, stmt, &matches, err);
    }
    if (matches) {
        const char *id = (const char *)sqlite3_column_text(stmt, 0);

        rl_buf_add_text(&self->found->ids, id != NULL ? id : "");
        rl_buf_add_char(&self->found->ids, '\0');
        self->found->count++;
    }
    finish(stmt);
    return status;
}

static bool is_enough(const walk *self)
{
    return self->found->count >= self->query->limit;
}

/* Looks at the runs with the words, at no more than `most`. */
static rl_status walk_hits(walk *self, size_t most, rl_err *err)
{
    rl_status status = seek_hit(self, INT64_MAX, err);

    for (size_t i = 0; status == RL_OK && self->has_hit && !is_enough(self) && i < most;
         i++) {
        status = take(self, err);
        if (status == RL_OK) {
            status = next_hit(self, err);
        }
    }
    return status;
}

/* Goes on with the runs that match the filters. */
static rl_status walk_matching(walk *self, const char *sql, rl_err *err)
{
    sqlite3_stmt *stmt = NULL;
    rl_status status = prepare(self, sql, &stmt, err);
    bool more = status == RL_OK;

    if (more) {
        sqlite3_bind_int64(stmt, 1, self->hit);
    }
    while (more && self->has_hit && !is_enough(self)) {
        status = rl_sqlite_conn_next(self->conn, stmt, &more, err);
        if (more) {
            const int64_t run = sqlite3_column_int64(stmt, 0);

            status = approach(self, run, err);
            if (status == RL_OK && self->has_hit && self->hit == run) {
                status = take(self, err);
            }
            more = status == RL_OK;
        }
    }
    finish(stmt);
    return status;
}

rl_status rl_sqlite_words_walk(rl_sqlite_conn *conn, const rl_words_query *query,
                               const char *terms, rl_words_found *found, rl_err *err)
{
    const bool lost = query->status != NULL && strcmp(query->status, "lost") == 0;
    walk self = {.conn = conn,
                 .query = query,
                 .terms = terms,
                 .found = found,
                 .status = lost ? "running" : query->status};
    rl_status status = rl_sqlite_conn_stmt(conn, RL_SQLITE_WORDS_HITS, &self.hits, err);
    const char *narrow;

    if (query->since != RL_TIME_NONE) {
        rl_time_format(query->since, self.since);
    }
    narrow = matching(&self);
    if (status == RL_OK) {
        status = walk_hits(&self, narrow != NULL ? FIRST_HITS : SIZE_MAX, err);
    }
    if (status == RL_OK && narrow != NULL) {
        status = walk_matching(&self, narrow, err);
    }
    finish(self.hits);
    return status;
}
