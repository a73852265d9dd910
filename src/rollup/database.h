/* The roll-up of a database: what SQLite's and PostgreSQL's have in common for those who
 * use it. book.h is what they have in common for who counts.
 *
 * Threads: one at a time calls `work`, any thread the others. All may wait for the
 * database. Ownership: it borrows the store.
 */
#ifndef RL_ROLLUP_DATABASE_H
#define RL_ROLLUP_DATABASE_H

#include "rollup/count.h"
#include "store/store.h"

/* What is asked for. */
typedef struct rl_rollup_query {
    const char *wpk_id;   /* NULL: any workflow */
    int64_t since, until; /* of created_at; RL_TIME_MIN and RL_TIME_MAX: any */
    rl_level level;
} rl_rollup_query;

/* A piece that was found. */
typedef struct rl_rollup_row {
    rl_string wpk_id;
    uint64_t number; /* of the workflow */
    int64_t from;
    rl_bytes data;
} rl_rollup_row;

typedef struct rl_rollup_rows { /* of zeros at first; rl_rollup_rows_free */
    rl_rollup_row *list;
    size_t count, room;
    rl_pool pool;
} rl_rollup_rows;

typedef struct rl_rollup_size {
    int64_t blocks, runs, bytes;
} rl_rollup_size;

typedef struct rl_rollup_db rl_rollup_db;

typedef struct rl_rollup_db_ops {
    /* Counts some runs, in transactions that hold no lock for long; makes the roll-up if
     * there is none. *more: there are others. *counted: how many runs. RL_BUSY: somebody
     * else is at it, or has the lock that it needs. */
    rl_status (*work)(rl_rollup_db *db, const atomic_bool *stop, bool *more,
                      uint64_t *counted, unsigned *damaged, rl_err *err);
    /* Appends the pieces, by workflow and time; and how many runs are not counted as they
     * are, at most. */
    rl_status (*read)(rl_rollup_db *db, const rl_rollup_query *query,
                      rl_rollup_rows *rows, int64_t *waiting, rl_err *err);
    /* Marks a damaged piece, so that `work` counts it again. */
    rl_status (*mark)(rl_rollup_db *db, rl_level level, rl_string wpk_id, int64_t from,
                      rl_err *err);
    rl_status (*waiting)(rl_rollup_db *db, int64_t *waiting, rl_err *err);
    rl_status (*size)(rl_rollup_db *db, rl_rollup_size *size, rl_err *err);
    /* Forgets all but the sums of deleted runs; `work` counts the rest again. */
    rl_status (*reset)(rl_rollup_db *db, rl_err *err);
    /* In the child of a fork: forgets what the parent's thread was doing. */
    void (*after_fork)(rl_rollup_db *db);
    void (*free)(rl_rollup_db *db); /* no call may be under way */
    /* Counts what runlog deletes, if there is a roll-up; `ctx` is the database. */
    rl_removal_hook removal_hook;
} rl_rollup_db_ops;

struct rl_rollup_db {
    const rl_rollup_db_ops *ops;
};

void rl_rollup_rows_free(rl_rollup_rows *rows);
/* Copies the texts of a row to the pool. False without memory. */
bool rl_rollup_rows_add(rl_rollup_rows *rows, const rl_rollup_row *row);

/* Make the roll-up of a store; open nothing. RL_NOMEM. */
rl_status rl_sqlite_rollup_new(rl_store *store, rl_rollup_db **db, rl_err *err);
rl_status rl_pg_rollup_new(rl_store *store, rl_rollup_db **db, rl_err *err);

#endif
