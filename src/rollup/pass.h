/* A pass of count.h, and the changes that it makes.
 *
 * Threads: one at a time. Ownership: what is read and made is of the pool of the count.
 */
#ifndef RL_PASS_H
#define RL_PASS_H

#include "core/buf.h"
#include "rollup/book.h"

typedef enum rl_change_kind {
    RL_CHANGE_DROP_LEAVES,
    RL_CHANGE_PUT_PIECE,
    RL_CHANGE_DROP_MARK,
    RL_CHANGE_ADD_MARK,
    RL_CHANGE_ADD_WORKFLOW,
    RL_CHANGE_ADD_NAME,
} rl_change_kind;

typedef struct rl_change {
    rl_change_kind kind;
    rl_level level;
    rl_string wpk_id, node;
    rl_piece piece;
    rl_mark mark;
    unsigned number;
} rl_change;

#define RL_LEAF_RUNS 256
#define RL_PASS_RUNS 2048 /* rows that a pass reads, and the rest of the last leaf */

typedef struct rl_count {
    rl_pool pool;     /* of the pass */
    rl_buf changes;   /* rl_change */
    uint64_t counted; /* runs, in this pass */
    unsigned damaged; /* pieces whose data could not be read, in this pass */
    bool more;        /* marks are left */
} rl_count;

/* A pass over the marks of a workflow. */
typedef struct rl_pass {
    rl_count *count;
    rl_book *book;
    int64_t budget; /* rows that it may still read */
    size_t bytes, blocks;
    rl_string wpk_id;
    rl_names names;    /* of the workflow's nodes */
    rl_pieces touched; /* its blocks of this pass, by time */
    rl_err *err;
} rl_pass;

/* Adds a change to the list. */
rl_status rl_pass_change(rl_pass *self, const rl_change *one);
rl_status rl_pass_put_piece(rl_pass *self, rl_level level, const rl_piece *piece);

/* Writes sums as bytes of the pass. */
rl_status rl_pass_write_form(rl_pass *self, const rl_sums *sums, rl_bytes *bytes);

/* Adds what is stored; or, if `down`, takes it away. Damaged data counts for nothing, but in
 * *damaged. */
rl_status rl_pass_read_form(rl_pass *self, rl_sums *sums, rl_bytes bytes, bool down,
                            bool *damaged);
rl_status rl_pass_add_sums(rl_pass *self, rl_sums *to, const rl_sums *more);

/* Has the sums know the workflow's nodes by their numbers; gives numbers to the nodes of the
 * sums that have none yet. */
rl_status rl_pass_know_names(rl_pass *self, rl_sums *sums);
rl_status rl_pass_learn_names(rl_pass *self, const rl_sums *sums);

#endif
