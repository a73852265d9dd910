/* Lost runs: stored as "running", but their process has exited.
 *
 * "lost" is not stored. A reader of a running run checks whether its owner (owner.h)
 * still runs: on this machine, or by its heartbeats in the database (beat.h). So a filter
 * by either status reads the running runs, and sorts them here. A process may commit the
 * end of a run and exit after its row was read, so rows of exited owners are read again.
 * Threads: any; may wait for the database.
 */
#ifndef RL_LOST_H
#define RL_LOST_H

#include "record/owner.h"
#include "store/store.h"

/* The store's query, with "lost" as a status. After RL_NOMEM the rows are incomplete. */
rl_status rl_lost_query(rl_store *store, const rl_query *query, rl_rows *rows,
                        rl_err *err);

/* Counts the runs that are open, and those that are lost. The work grows with their
 * number, not with that of the runs. */
rl_status rl_lost_count(rl_store *store, int64_t *open, int64_t *is_lost, rl_err *err);

/* How long an owner that can't be checked here must have been silent, seconds: for its
 * runs to be shown as lost, or also to be deleted as such. A machine may sleep, or be cut
 * off from its database, for days; so nothing that may come back is deleted. */
#define RL_LOST_SHOWN 60
#define RL_LOST_DELETED (7 * 24 * 3600)

/* What is known of owners. */
typedef struct rl_owner_cache {
    int64_t seconds;           /* RL_LOST_SHOWN or RL_LOST_DELETED */
    char owner[RL_OWNER_TEXT]; /* checked last: often the owner of the next run, too */
    bool is_gone;
    bool has_silent; /* `silent` was read */
    bool no_memory;  /* for it */
    rl_rows silent;  /* owned; see rl_store_ops */
    rl_buf gone;     /* owned; the owners that were found gone, each with its '\0' */
} rl_owner_cache;

/* A walk over the runs that match a query: newest first, in chunks. */
typedef struct rl_lost_walk {
    rl_query query;     /* the next chunk; the texts are borrowed */
    const char *wanted; /* borrowed; with this status; NULL: of all rows */
    rl_rows rows;       /* owned; the chunk, of the query's shape */
    rl_buf after_id;    /* owned; of the query's cursor */
    rl_owner_cache owners;
    bool more;      /* there may be more chunks */
    bool placeless; /* the last row has no place in the order */
    bool skipped;   /* such rows were skipped before */
} rl_lost_walk;

/* The query's texts must outlive the walk. Its page does not matter. The shape is
 * RL_SHAPE_KEY, or SUMMARY where the status depends on the owners. To delete runs with
 * the status "lost", the walk finds only those of RL_LOST_DELETED. */
void rl_lost_walk_begin(rl_lost_walk *self, const rl_query *query, bool to_delete);
void rl_lost_walk_end(rl_lost_walk *self);

/* Reads the next chunk. `deleted`: the caller has deleted runs of the chunk before. */
rl_status rl_lost_walk_next(rl_lost_walk *self, rl_store *store, bool deleted,
                            rl_err *err);

/* Whether the row that begins with the cell `first` is of the wanted status. */
bool rl_lost_walk_has(const rl_lost_walk *self, size_t first);

#endif
