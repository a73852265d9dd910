/* The roll-up of a PostgreSQL database.
 *
 * A step is two transactions. Both have locked the place up to which runs are marked, so one
 * process at a time works, and when it dies, the next one goes on where it was. The first
 * one marks what was logged since; the second one counts what is marked, in one snapshot.
 * Marks are only ever added and deleted, so nobody who deletes runs waits for who counts.
 */
#include "core/alloc.h"
#include "core/clock.h"
#include "rollup/database.h"
#include "rollup/gone.h"
#include "rollup/pg_book.h"
#include "rollup/pg_rollup_sql.h"
#include "store/postgres/postgres.h"

#include <stdlib.h>
#include <string.h>

#define WALK_RUNS "5000"
#define WAITING_MAX "100000"    /* that a reader counts */
#define WAITING_ALL "100000000" /* that somebody who waits for all counts */

typedef struct pg_rollup {
    rl_rollup_db base;
    rl_pg_reader *reader;          /* borrowed */
    rl_pg_pool *pool, *background; /* borrowed; for marks, and for counting */
    /* of the step under way */
    const atomic_bool *stop;
    bool more;
    rl_pg_book book;
    rl_count count;
} pg_rollup;

/* Ends a transaction. Another process that was faster is no error. */
static rl_status end(rl_pg_conn *conn, rl_status status, rl_err *err)
{
    status = rl_pg_conn_end(conn, status, err);
    if (status == RL_STORE &&
        (strcmp(err->sqlstate, "40001") == 0 || strcmp(err->sqlstate, "40P01") == 0)) {
        status = rl_err_set(err, RL_BUSY, "another process has counted these runs");
    }
    return status;
}

/* Locks the place. RL_BUSY if another process has. */
static rl_status lock(pg_rollup *self, rl_pg_conn *conn, PGresult **place, bool *made,
                      rl_err *err)
{
    PGresult *result = NULL;
    rl_status status =
        rl_pg_conn_exec(conn, RL_PG_ROLLUP_PLACE, 0, NULL, false, place, err);

    *made = false;
    if (status == RL_OK && PQntuples(*place) == 0) {
        status = rl_pg_conn_exec(conn, RL_PG_ROLLUP_MAKE, 0, NULL, false, &result, err);
        *made = status == RL_OK && strcmp(PQcmdTuples(result), "0") != 0;
        self->more = *made;
        if (status == RL_OK && !*made) {
            status = rl_err_set(err, RL_BUSY, "another process counts runs");
        }
    }
    PQclear(result);
    return status;
}

static rl_status walk(rl_pg_conn *conn, void *ctx, rl_err *err)
{
    pg_rollup *self = ctx;
    PGresult *place = NULL, *rows = NULL;
    bool made = false;
    rl_status status = rl_pg_conn_exec(conn, RL_PG_BEGIN, 0, NULL, false, NULL, err);

    self->more = false;
    if (status == RL_OK) {
        status = lock(self, conn, &place, &made, err);
    }
    if (status == RL_OK && !made &&
        strcmp(PQgetvalue(place, 0, 0), RL_PG_QUEUED_PLACE) != 0) {
        const char *const values[] = {PQgetvalue(place, 0, 0), PQgetvalue(place, 0, 1),
                                      WALK_RUNS};

        status = rl_pg_conn_exec(conn, RL_PG_ROLLUP_WALK, 3, values, false, &rows, err);
        self->more = status == RL_OK && strcmp(PQgetvalue(rows, 0, 0), WALK_RUNS) == 0;
    }
    PQclear(place);
    PQclear(rows);
    return end(conn, status, err);
}

static rl_status count(rl_pg_conn *conn, void *ctx, rl_err *err)
{
    pg_rollup *self = ctx;
    PGresult *place = NULL;
    bool made = false;
    rl_status status =
        rl_pg_conn_exec(conn, RL_PG_ROLLUP_BEGIN_COUNT, 0, NULL, false, NULL, err);

    rl_pg_book_begin(&self->book, conn);
    if (status == RL_OK) {
        status = lock(self, conn, &place, &made, err);
    }
    if (status == RL_OK && !made) {
        status = rl_count_read(&self->count, &self->book.base, self->stop, err);
        self->more = status == RL_OK && self->count.more;
    }
    if (status == RL_OK && !made && rl_count_has_changes(&self->count)) {
        status = rl_pg_conn_exec(conn, RL_PG_ROLLUP_VERSION, 0, NULL, false, NULL, err);
        if (status == RL_OK) {
            status = rl_count_write(&self->count, &self->book.base, err);
        }
        if (status == RL_OK) {
            status = rl_pg_book_end(&self->book, err);
        }
    }
    PQclear(place);
    return end(conn, status, err);
}

static rl_status pg_work(rl_rollup_db *db, const atomic_bool *stop, bool *more,
                         uint64_t *counted, unsigned *damaged, rl_err *err)
{
    pg_rollup *self = (pg_rollup *)db;
    rl_status status = rl_pg_pool_run(self->background, walk, self, err);

    *counted = *damaged = 0;
    self->stop = stop;
    if (status == RL_OK && !self->more) {
        status = rl_pg_pool_run(self->background, count, self, err);
        *counted = status == RL_OK ? self->count.counted : 0;
        *damaged = status == RL_OK ? self->count.damaged : 0;
    }
    *more = self->more;
    return status;
}

static rl_status count_waiting(pg_rollup *self, const char *most, int64_t *waiting,
                               rl_err *err)
{
    PGresult *result = NULL;
    rl_status status = rl_pg_reader_read(self->reader, RL_PG_OWN_WORK,
                                         RL_PG_ROLLUP_WAITING, 1, &most, &result, err);

    *waiting = status == RL_OK ? rl_pg_book_number(result, 0, 0) : 0;
    PQclear(result);
    return status;
}

static rl_status pg_read(rl_rollup_db *db, const rl_rollup_query *query,
                         rl_rollup_rows *rows, int64_t *waiting, rl_err *err)
{
    pg_rollup *self = (pg_rollup *)db;
    const char level[] = {(char)('0' + query->level), '\0'};
    char since[RL_TIME_TEXT], until[RL_TIME_TEXT];
    const char *const values[] = {level, query->wpk_id, since, until};
    PGresult *found = NULL;
    bool failed = false;
    rl_status status;

    rl_time_format(query->since, since);
    rl_time_format(query->until, until);
    status = rl_pg_reader_read(self->reader, RL_PG_OWN_WORK, RL_PG_ROLLUP_READ, 4, values,
                               &found, err);
    for (int row = 0; status == RL_OK && row < PQntuples(found) && !failed; row++) {
        const rl_string data = rl_pg_book_text(found, row, 3);
        const rl_rollup_row one = {.wpk_id = rl_pg_book_text(found, row, 0),
                                   .number = (uint64_t)rl_pg_book_number(found, row, 1),
                                   .from = rl_pg_book_time(found, row, 2),
                                   .data = {data.text, data.len}};

        failed = !rl_rollup_rows_add(rows, &one);
    }
    PQclear(found);
    if (status == RL_OK && failed) {
        status = rl_err_nomem(err);
    }
    return status == RL_OK ? count_waiting(self, WAITING_MAX, waiting, err) : status;
}

static rl_status pg_waiting(rl_rollup_db *db, int64_t *waiting, rl_err *err)
{
    return count_waiting((pg_rollup *)db, WAITING_ALL, waiting, err);
}

static rl_status pg_size(rl_rollup_db *db, rl_rollup_size *size, rl_err *err)
{
    PGresult *result = NULL;
    rl_status status = rl_pg_reader_read(((pg_rollup *)db)->reader, RL_PG_OWN_WORK,
                                         RL_PG_ROLLUP_SIZE, 0, NULL, &result, err);

    if (status == RL_OK) {
        *size = (rl_rollup_size){rl_pg_book_number(result, 0, 0),
                                 rl_pg_book_number(result, 0, 1),
                                 rl_pg_book_number(result, 0, 2)};
    }
    PQclear(result);
    return status;
}

typedef struct marking {
    rl_level level;
    rl_string wpk_id;
    int64_t from;
} marking;

static rl_status mark(rl_pg_conn *conn, void *ctx, rl_err *err)
{
    const marking *wanted = ctx;
    const int64_t length = wanted->level == RL_LEVEL_SPAN ? RL_SPAN_US : RL_BLOCK_US;
    rl_pool pool = {NULL, NULL, 0};
    rl_pieces blocks = {NULL, 0, 0};
    rl_pg_book book;
    rl_status status;

    rl_pg_book_init(&book);
    rl_pg_book_begin(&book, conn);
    status =
        book.base.ops->pieces(&book.base, RL_LEVEL_BLOCK, wanted->wpk_id, wanted->from,
                              wanted->from + length, &pool, &blocks, err);
    if (status == RL_OK && blocks.count > 0) {
        const int64_t at = blocks.list[0].from;
        const rl_mark one = {.from = at, .to = at, .runs = 1};

        status = book.base.ops->add_mark(&book.base, wanted->wpk_id, &one, err);
    }
    rl_pool_free(&pool);
    rl_pg_book_free(&book);
    return status;
}

static rl_status pg_mark(rl_rollup_db *db, rl_level level, rl_string wpk_id, int64_t from,
                         rl_err *err)
{
    marking wanted = {level, wpk_id, from};

    return rl_pg_pool_run(((pg_rollup *)db)->pool, mark, &wanted, err);
}

static rl_status reset(rl_pg_conn *conn, void *ctx, rl_err *err)
{
    rl_status status =
        rl_pg_conn_exec(conn, RL_PG_ROLLUP_RESET, 0, NULL, false, NULL, err);

    (void)ctx;
    if (status != RL_OK) {
        rl_pg_conn_rollback(conn);
    }
    return status;
}

static rl_status pg_reset(rl_rollup_db *db, rl_err *err)
{
    return rl_pg_pool_run(((pg_rollup *)db)->pool, reset, NULL, err);
}

static rl_status removal_begin(void *ctx, rl_pg_conn *conn, bool *wanted, rl_err *err)
{
    (void)ctx;
    return rl_pg_conn_has_row(conn, RL_PG_ROLLUP_DELETING, wanted, err);
}

static rl_status removal_deleted(void *ctx, rl_pg_conn *conn, const PGresult *rows,
                                 rl_err *err)
{
    rl_gone gone;
    rl_pg_book book;
    rl_status status;

    (void)ctx;
    memset(&gone, 0, sizeof gone);
    rl_pg_book_init(&book);
    rl_pg_book_begin(&book, conn);
    for (int row = 0; row < PQntuples(rows) && !gone.failed; row++) {
        rl_fold_run run;

        rl_pg_book_run(rows, row, &run);
        if (!PQgetisnull(rows, row, 0) && run.created_at > RL_TIME_MIN &&
            run.created_at < RL_TIME_MAX) {
            rl_gone_look(&gone, rl_pg_book_text(rows, row, 9), &run);
            rl_gone_take(&gone);
        }
    }
    status = rl_gone_write(&gone, &book.base, err);
    rl_gone_free(&gone);
    rl_pg_book_free(&book);
    return status;
}

static void init_step(pg_rollup *self)
{
    rl_pg_book_init(&self->book);
    rl_count_init(&self->count);
}

static void pg_after_fork(rl_rollup_db *db)
{
    init_step((pg_rollup *)db);
}

static void pg_free(rl_rollup_db *db)
{
    pg_rollup *self = (pg_rollup *)db;

    rl_pg_book_free(&self->book);
    rl_count_free(&self->count);
    rl_free(self);
}

static const rl_rollup_db_ops ops = {
    .work = pg_work,
    .read = pg_read,
    .mark = pg_mark,
    .waiting = pg_waiting,
    .size = pg_size,
    .reset = pg_reset,
    .after_fork = pg_after_fork,
    .free = pg_free,
    .removal_hook = {.returning = RL_PG_ROLLUP_RETURNING,
                     .pg_begin = removal_begin,
                     .pg_deleted = removal_deleted},
};

rl_status rl_pg_rollup_new(rl_store *store, rl_rollup_db **db, rl_err *err)
{
    pg_rollup *self = rl_calloc(1, sizeof *self);

    if (self == NULL) {
        return rl_err_nomem(err);
    }
    self->base.ops = &ops;
    self->reader = rl_postgres_reader_of(store);
    self->pool = rl_postgres_pool_of(store);
    self->background = rl_postgres_background_of(store);
    init_step(self);
    *db = &self->base;
    return RL_OK;
}
