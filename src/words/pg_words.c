/* The index of words on PostgreSQL: the table run_words, of the words that runlog has
 * made of the texts (plain.h), as tsvectors. The server's own parser is not asked: its
 * words depend on the locale of the database.
 *
 * A batch is a transaction. It has locked the place up to which runs are indexed, so one
 * process at a time works, and when it dies, the next one goes on where it was.
 */
#include "core/alloc.h"
#include "core/clock.h"
#include "core/text.h"
#include "store/postgres/postgres.h"
#include "words/index.h"
#include "words/pg_words_sql.h"
#include "words/run_text.h"
#include "words/terms.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of words of a run: their tsvector takes up to twice that, and holds 1 MiB. */
#define TEXT_MAX ((size_t)500000)
#define PLACE_MAX 16383 /* the last place in a tsvector */
#define RETAIN ((size_t)1 << 20)
#define WAITING_MAX "100000"    /* that a search counts */
#define WAITING_ALL "100000000" /* that somebody who waits for all counts */
#define NUMBER_TEXT 24          /* bytes of an int64 as text, with the NUL */

/* Columns of the rows that RL_PG_WORDS_NEXT and RL_PG_WORDS_DUE give. */
enum {
    TXID,
    CHANGES = TXID, /* of RL_PG_WORDS_NEXT_QUEUED */
    ID,
    WPK_ID,
    LATER,
    ERROR_TYPE,
    ERROR_TEXT,
    TRACEBACK,
    INPUTS,
    OUTPUTS,
    LOGS,
    PARTS,
    FULL
};

/* The runs of a batch, as array literals. */
typedef struct arrays {
    rl_buf wpk_ids, ids, texts;
    size_t count;
} arrays;

typedef struct pg_words {
    rl_words_index base;
    rl_pg_reader *reader;   /* borrowed; for searches */
    rl_pg_pool *background; /* borrowed; for indexing */
    /* of the batch under way */
    bool more;
    arrays now, later; /* to be indexed, and open runs to be left for later */
    rl_buf text, vector;
    rl_words_scan scan;
} pg_words;

static void init_arrays(arrays *runs)
{
    rl_buf_init(&runs->wpk_ids, RL_BUF_MAX);
    rl_buf_init(&runs->ids, RL_BUF_MAX);
    rl_buf_init(&runs->texts, RL_BUF_MAX);
    runs->count = 0;
}

static void free_arrays(arrays *runs)
{
    rl_buf_free(&runs->wpk_ids);
    rl_buf_free(&runs->ids);
    rl_buf_free(&runs->texts);
}

static void clear_arrays(arrays *runs)
{
    rl_buf_reset(&runs->wpk_ids, RETAIN);
    rl_buf_reset(&runs->ids, RETAIN);
    rl_buf_reset(&runs->texts, RETAIN);
    runs->count = 0;
}

static bool has_failed(const arrays *runs)
{
    return runs->wpk_ids.failed || runs->ids.failed || runs->texts.failed;
}

/* Appends an element to an array literal, of which nothing is there before the first. */
static void add_element(rl_buf *array, const char *text, size_t len)
{
    rl_buf_add_char(array, array->len == 0 ? '{' : ',');
    rl_buf_add_char(array, '"');
    for (size_t used = 0; used < len;) {
        const char *from = text + used;
        size_t plain = 0;

        while (used + plain < len && from[plain] != '"' && from[plain] != '\\') {
            plain++;
        }
        rl_buf_add(array, from, plain);
        used += plain;
        if (used < len) {
            rl_buf_add_char(array, '\\');
            rl_buf_add_char(array, text[used++]);
        }
    }
    rl_buf_add_char(array, '"');
}

static const char *end_array(rl_buf *array)
{
    rl_buf_add(array, "}", 2); /* with the NUL */
    return array->data;
}

static void add_key(arrays *runs, const PGresult *rows, int row)
{
    add_element(&runs->wpk_ids, PQgetvalue(rows, row, WPK_ID),
                (size_t)PQgetlength(rows, row, WPK_ID));
    add_element(&runs->ids, PQgetvalue(rows, row, ID),
                (size_t)PQgetlength(rows, row, ID));
    runs->count++;
}

/* Appends words as a tsvector, each with its place: " a b" becomes "a:1 b:2". */
static void add_places(rl_buf *out, const rl_buf *words)
{
    char place[NUMBER_TEXT];
    size_t from = 1;

    for (unsigned number = 1; from < words->len; number++) {
        const char *space = memchr(words->data + from, ' ', words->len - from);
        const size_t end = space != NULL ? (size_t)(space - words->data) : words->len;

        rl_buf_add(out, words->data + from, end - from);
        if (number <= PLACE_MAX) {
            rl_buf_add_char(out, ':'); /* printf took a third of the thread's time */
            rl_buf_add(out, place, rl_put_u64(place, number));
            rl_buf_add_char(out, ' ');
        } else {
            rl_buf_add_char(out, ' ');
        }
        from = end + 1;
    }
}

static void add_text(pg_words *self, const PGresult *rows, int row)
{
    rl_buf_reset(&self->text, RETAIN);
    rl_words_scan_begin(&self->scan, true, TEXT_MAX, &self->text);
    for (int column = ERROR_TYPE; column <= PARTS; column++) {
        const char *text = PQgetvalue(rows, row, column);
        const size_t len = (size_t)PQgetlength(rows, row, column);

        if (column <= TRACEBACK) {
            rl_words_scan_text(&self->scan, text, len);
        } else {
            rl_words_scan_json(&self->scan,
                               column >= LOGS ? RL_WORDS_LOGS : RL_WORDS_PAYLOAD, text,
                               len);
        }
    }
    self->now.texts.failed = self->now.texts.failed || self->text.failed;
    rl_buf_reset(&self->vector, RETAIN);
    add_places(&self->vector, &self->text);
    self->now.texts.failed = self->now.texts.failed || self->vector.failed;
    add_element(&self->now.texts, self->vector.data, self->vector.len);
}

static void add_rows(pg_words *self, const PGresult *rows)
{
    for (int row = 0; row < PQntuples(rows); row++) {
        if (PQgetvalue(rows, row, LATER)[0] == 't') {
            add_key(&self->later, rows, row);
        } else {
            add_key(&self->now, rows, row);
            add_text(self, rows, row);
        }
    }
}

/* Writes the words of the batch, and what is left for later. */
static rl_status write_arrays(pg_words *self, rl_pg_conn *conn, rl_err *err)
{
    arrays *now = &self->now, *later = &self->later;
    rl_status status = RL_OK;

    if (now->count > 0) {
        const char *const values[] = {end_array(&now->wpk_ids), end_array(&now->ids),
                                      end_array(&now->texts)};

        status = has_failed(now) ? rl_err_nomem(err)
                                 : rl_pg_conn_exec(conn, RL_PG_WORDS_PUT, 3, values,
                                                   false, NULL, err);
    }
    if (status == RL_OK && later->count > 0) {
        const char *const values[] = {end_array(&later->wpk_ids), end_array(&later->ids)};

        status = has_failed(later) ? rl_err_nomem(err)
                                   : rl_pg_conn_exec(conn, RL_PG_WORDS_LATER, 2, values,
                                                     false, NULL, err);
    }
    return status;
}

/* Reads runs, and writes their words. *rows: how many. */
static rl_status index_rows(pg_words *self, rl_pg_conn *conn, const char *sql, int count,
                            const char *const *values, PGresult **rows, rl_err *err)
{
    rl_status status = rl_pg_conn_exec(conn, sql, count, values, true, rows, err);

    clear_arrays(&self->now);
    clear_arrays(&self->later);
    if (status == RL_OK) {
        add_rows(self, *rows);
        status = write_arrays(self, conn, err);
    }
    return status;
}

/* Moves the place behind the last of the rows. */
static rl_status move_place(rl_pg_conn *conn, const PGresult *rows, rl_err *err)
{
    const int last = PQntuples(rows) - 1;
    const char *const values[] = {PQgetvalue(rows, last, TXID),
                                  PQgetvalue(rows, last, ID)};

    return rl_pg_conn_exec(conn, RL_PG_WORDS_MOVE, 2, values, false, NULL, err);
}

/* Deletes the rows' changes from the queue. */
static rl_status unqueue(rl_pg_conn *conn, const PGresult *rows, rl_err *err)
{
    const char *values[2];
    rl_status status;
    arrays changes;

    init_arrays(&changes);
    for (int row = 0; row < PQntuples(rows); row++) {
        add_element(&changes.wpk_ids, PQgetvalue(rows, row, WPK_ID),
                    (size_t)PQgetlength(rows, row, WPK_ID));
        rl_buf_add_char(&changes.ids, row == 0 ? '{' : ',');
        rl_buf_add(&changes.ids, PQgetvalue(rows, row, CHANGES),
                   (size_t)PQgetlength(rows, row, CHANGES));
    }
    values[0] = end_array(&changes.wpk_ids);
    values[1] = end_array(&changes.ids);
    status = has_failed(&changes) ? rl_err_nomem(err)
                                  : rl_pg_conn_exec(conn, RL_PG_WORDS_UNQUEUE, 2, values,
                                                    false, NULL, err);
    free_arrays(&changes);
    return status;
}

/* Whether there may be more than these rows. A batch that is not full has come to the end:
 * what others log meanwhile is the next pass's, or a pass beside them would never end. */
static bool is_full(const PGresult *rows)
{
    return PQntuples(rows) > 0 && PQgetvalue(rows, 0, FULL)[0] == 't';
}

/* The next runs, and behind them those that are due; with the place locked. */
static rl_status index_batch(pg_words *self, rl_pg_conn *conn, const PGresult *place,
                             rl_err *err)
{
    char bytes[NUMBER_TEXT], runs[NUMBER_TEXT];
    const char *const values[] = {bytes, runs, PQgetvalue(place, 0, 0),
                                  PQgetvalue(place, 0, 1)};
    const bool queued = strcmp(values[2], RL_PG_QUEUED_PLACE) == 0;
    PGresult *next = NULL, *due = NULL;
    rl_status status;

    snprintf(bytes, sizeof bytes, "%zu", RL_WORDS_BATCH_BYTES);
    snprintf(runs, sizeof runs, "%d", RL_WORDS_BATCH_RUNS);
    status = queued
                 ? index_rows(self, conn, RL_PG_WORDS_NEXT_QUEUED, 2, values, &next, err)
                 : index_rows(self, conn, RL_PG_WORDS_NEXT, 4, values, &next, err);
    if (status == RL_OK && PQntuples(next) > 0) {
        status = queued ? unqueue(conn, next, err) : move_place(conn, next, err);
    }
    self->more = status == RL_OK && is_full(next);
    if (status == RL_OK && !self->more) {
        status = index_rows(self, conn, queued ? RL_PG_WORDS_DUE_QUEUED : RL_PG_WORDS_DUE,
                            2, values, &due, err);
        self->more = status == RL_OK && is_full(due);
    }
    if (status == RL_OK && queued && PQntuples(next) == 0) {
        status =
            rl_pg_conn_exec(conn, RL_PG_WORDS_UNQUEUE_GONE, 0, NULL, false, NULL, err);
    }
    PQclear(next);
    PQclear(due);
    return status;
}

/* There is no place that is not locked: has one made, if there is none. */
static rl_status replace_place(pg_words *self, rl_pg_conn *conn, rl_err *err)
{
    PGresult *result = NULL;
    rl_status status =
        rl_pg_conn_exec(conn, RL_PG_WORDS_PLACE_AGAIN, 0, NULL, false, &result, err);

    if (status == RL_OK) {
        self->more = strcmp(PQcmdTuples(result), "0") != 0;
        status = self->more ? RL_OK
                            : rl_err_set(err, RL_BUSY, "another process indexes words");
    }
    PQclear(result);
    return status;
}

static rl_status work_in_transaction(rl_pg_conn *conn, void *ctx, rl_err *err)
{
    pg_words *self = ctx;
    PGresult *place = NULL;
    rl_status status = rl_pg_conn_exec(conn, RL_PG_BEGIN, 0, NULL, false, NULL, err);

    self->more = false;
    if (status == RL_OK) {
        status = rl_pg_conn_exec(conn, RL_PG_WORDS_PLACE, 0, NULL, false, &place, err);
    }
    if (status == RL_OK) {
        status = PQntuples(place) > 0 ? index_batch(self, conn, place, err)
                                      : replace_place(self, conn, err);
    }
    PQclear(place);
    return rl_pg_conn_end(conn, status, err);
}

static rl_status pg_work(rl_words_index *index, const atomic_bool *stop, bool *more,
                         rl_err *err)
{
    pg_words *self = (pg_words *)index;
    rl_status status = rl_pg_pool_run(self->background, work_in_transaction, self, err);

    (void)stop; /* a batch is short */
    *more = self->more;
    return status;
}

/* Counts the runs that are not indexed. `most`: no more than so many. */
static rl_status count_runs(pg_words *self, const char *sql, const char *most,
                            int64_t *waiting, rl_err *err)
{
    PGresult *result = NULL;
    rl_status status =
        rl_pg_reader_read(self->reader, RL_PG_OWN_WORK, sql, 1, &most, &result, err);

    *waiting = status == RL_OK ? strtoll(PQgetvalue(result, 0, 0), NULL, 10) : 0;
    PQclear(result);
    return status;
}

static rl_status find_terms(pg_words *self, const rl_words_query *query,
                            const char *terms, rl_words_found *found, rl_err *err)
{
    const bool lost = query->status != NULL && strcmp(query->status, "lost") == 0;
    char since[NUMBER_TEXT], limit[NUMBER_TEXT];
    const char *const values[] = {terms, query->wpk_id, lost ? "running" : query->status,
                                  query->since != RL_TIME_NONE ? since : NULL, limit};
    PGresult *rows = NULL;
    rl_status status;

    snprintf(since, sizeof since, "%lld", (long long)query->since);
    snprintf(limit, sizeof limit, "%zu", query->limit);
    status = rl_pg_reader_read(self->reader, RL_PG_OWN_WORK, RL_PG_WORDS_FIND, 5, values,
                               &rows, err);
    for (int row = 0; status == RL_OK && row < PQntuples(rows); row++) {
        rl_buf_add(&found->ids, PQgetvalue(rows, row, 0),
                   (size_t)PQgetlength(rows, row, 0) + 1);
        found->count++;
    }
    PQclear(rows);
    return status == RL_OK && found->ids.failed ? rl_err_nomem(err) : status;
}

static rl_status pg_find(rl_words_index *index, const rl_words_query *query,
                         rl_words_found *found, rl_err *err)
{
    pg_words *self = (pg_words *)index;
    rl_status status;
    rl_buf terms;

    rl_buf_init(&terms, RL_BUF_MAX);
    found->ids.len = found->count = 0;
    status = rl_words_terms(query->text, RL_WORDS_TSQUERY, &terms, err);
    if (status == RL_OK) { /* first: what is indexed meanwhile may not be found */
        status = count_runs(self, RL_PG_WORDS_MISSING, WAITING_MAX, &found->waiting, err);
    }
    if (status == RL_OK) {
        status = find_terms(self, query, terms.data, found, err);
    }
    rl_buf_free(&terms);
    return status;
}

static rl_status empty(rl_pg_conn *conn, void *ctx, rl_err *err)
{
    const bool *spread = ctx;
    rl_status status =
        rl_pg_conn_exec(conn, *spread ? RL_PG_WORDS_RESET_QUEUED : RL_PG_WORDS_RESET, 0,
                        NULL, false, NULL, err);

    if (status != RL_OK && *spread) {
        rl_pg_conn_rollback(conn);
    }
    return status;
}

static rl_status pg_reset(rl_words_index *index, rl_words_mode mode, rl_err *err)
{
    rl_pg_pool *pool = ((pg_words *)index)->background;
    bool spread = rl_pg_pool_is_spread(pool);

    (void)mode; /* there is one */
    return rl_pg_pool_run(pool, empty, &spread, err);
}

static rl_status pg_waiting(rl_words_index *index, int64_t *waiting, rl_err *err)
{
    return count_runs((pg_words *)index, RL_PG_WORDS_WAITING, WAITING_ALL, waiting, err);
}

static void init_batch(pg_words *self)
{
    init_arrays(&self->now);
    init_arrays(&self->later);
    rl_buf_init(&self->text, RL_BUF_MAX);
    rl_buf_init(&self->vector, RL_BUF_MAX);
    rl_words_scan_init(&self->scan);
}

static void pg_after_fork(rl_words_index *index)
{
    init_batch((pg_words *)index);
}

static void pg_free(rl_words_index *index)
{
    pg_words *self = (pg_words *)index;

    free_arrays(&self->now);
    free_arrays(&self->later);
    rl_buf_free(&self->text);
    rl_buf_free(&self->vector);
    rl_words_scan_free(&self->scan);
    rl_free(self);
}

static const rl_words_index_ops ops = {pg_work,    pg_find,       pg_reset,
                                       pg_waiting, pg_after_fork, pg_free};

rl_status rl_pg_words_new(rl_store *store, rl_words_index **index, rl_err *err)
{
    pg_words *self = rl_calloc(1, sizeof *self);

    if (self == NULL) {
        return rl_err_nomem(err);
    }
    self->base.ops = &ops;
    self->reader = rl_postgres_reader_of(store);
    self->background = rl_postgres_background_of(store);
    init_batch(self);
    *index = &self->base;
    return RL_OK;
}
