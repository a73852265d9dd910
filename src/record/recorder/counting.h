/* Numbers of runs by status and by spans of time.
 * Threads: any; may wait for the database.
 */
#ifndef RL_COUNTING_H
#define RL_COUNTING_H

#include "record/recorder/listing.h"

#define RL_COUNTING_SPANS 200

typedef struct rl_counting {
    rl_listing listing; /* the filters; its limit and rows are not the caller's */
    int64_t spans;      /* 1 to RL_COUNTING_SPANS */

    /* Results. */
    int64_t begin, end; /* of all spans, microseconds since 1970; RL_TIME_NONE: no runs */
    bool stopped;       /* a filter without an index: runs before `begin` do not count */
    rl_rows rows; /* owned; of RL_SHAPE_COUNT, each with a status: numbers to be added
                           up, also negative ones. Of every status, whatever the filter. */
} rl_counting;

/* No filters, no rows. */
void rl_counting_init(rl_counting *self);
void rl_counting_free(rl_counting *self);

/* Counts. Without a filter that searches (rl_query_searches), the work grows with the
 * number of runs, by about 0.1 us for each on SQLite. */
rl_status rl_counting_read(rl_counting *self, rl_store *store, rl_err *err);

#endif
