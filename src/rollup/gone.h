/* What runlog deletes in a batch: counted before it is gone, and noted in marks, of which
 * count.c makes the sums of what is gone.
 *
 * Threads: one at a time. Ownership: of zeros it is empty, and it owns its memory.
 */
#ifndef RL_GONE_H
#define RL_GONE_H

#include "rollup/book.h"

typedef struct rl_gone {
    struct rl_gone_group *groups; /* by workflow and slot */
    rl_sums one;                  /* a run that may be deleted; see rl_gone_look */
    rl_string wpk_id;             /* its workflow; of the pool */
    int64_t at;
    bool counts; /* it is to be counted */
    bool failed; /* no memory */
    rl_pool pool;
} rl_gone;

void rl_gone_free(rl_gone *gone); /* it is empty then */

/* Counts a run, unless it is open: the first for one that may be deleted next, the second
 * once it is. */
void rl_gone_look(rl_gone *gone, rl_string wpk_id, const rl_fold_run *run);
void rl_gone_take(rl_gone *gone);

/* Adds the marks. RL_NOMEM, or what the book says. */
rl_status rl_gone_write(rl_gone *gone, rl_book *book, rl_err *err);

#endif
