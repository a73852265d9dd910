/* Finds the new runs of a SQLite file, and marks the leaves that must be counted for them.
 *
 * The first walk goes over the index of workflows and times, because all rows must be
 * read anyway, and in that order. Later walks continue by rowid.
 * Threads: one at a time. Ownership: a walk owns its memory.
 */
#ifndef RL_SQLITE_ROLLUP_WALK_H
#define RL_SQLITE_ROLLUP_WALK_H

#include "core/buf.h"
#include "rollup/sqlite_book.h"

typedef struct rl_sqlite_walk {
    bool made;        /* there is a roll-up */
    bool is_first;    /* the first walk is under way */
    int64_t position; /* as it was read */
    int64_t version;
    rl_string wpk_id, at; /* where the first walk is; of the pool */
    /* what a step has found */
    bool has_moved, more;
    int64_t moved;     /* the new position */
    rl_string last_id; /* of the run there */
    rl_buf slots;      /* marks to be made, with their workflows: struct slot */
    rl_pool pool;
} rl_sqlite_walk;

void rl_sqlite_walk_init(rl_sqlite_walk *walk);
void rl_sqlite_walk_free(rl_sqlite_walk *walk);

/* Reads where the walk is, and begins a step. */
rl_status rl_sqlite_walk_state(rl_sqlite_walk *walk, rl_sqlite_conn *conn, rl_err *err);

/* Finds out what is new, in the same transaction. */
rl_status rl_sqlite_walk_read(rl_sqlite_walk *walk, rl_sqlite_conn *conn, rl_err *err);

/* Writes the marks and the new position. RL_BUSY if a rowid was used again meanwhile. */
rl_status rl_sqlite_walk_write(rl_sqlite_walk *walk, rl_sqlite_book *book, rl_err *err);

/* Starts again: all runs will be counted again; the sums of deleted ones stay. */
rl_status rl_sqlite_walk_reset(rl_sqlite_conn *conn, rl_err *err);

#endif
