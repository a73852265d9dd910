/* Lists of runs: pages of one or several statuses. With a filter that has no index (tag,
 * metadata, error, node), a page looks through at most RL_LISTING_ROWS runs, as they come by
 * the filters that have one, and says where it has stopped.
 * Threads: any; may wait for the database.
 */
#ifndef RL_LISTING_H
#define RL_LISTING_H

#include "core/uuid.h"
#include "store/store.h"

#define RL_LISTING_STATUSES 16
#define RL_LISTING_ROWS 2500 /* runs that a page looks through */
#define RL_LISTING_LOGS 1000 /* the same where it reads their node logs */

typedef struct rl_listing {
    rl_query query; /* its status is not used; the shape is RL_SHAPE_SUMMARY */
    const char *statuses[RL_LISTING_STATUSES]; /* borrowed; one of them, each once */
    size_t count;                              /* 0: any */

    /* Results. */
    rl_rows rows;      /* owned; at most query.limit of them */
    bool stopped;      /* there may be more runs, older than this one: */
    int64_t last_time; /* microseconds since 1970 */
    char last_id[RL_UUID_TEXT];
} rl_listing;

/* No filters, limit 0, no rows. */
void rl_listing_init(rl_listing *self);
void rl_listing_free(rl_listing *self);

/* Reads the rows. */
rl_status rl_listing_read(rl_listing *self, rl_store *store, rl_err *err);

#endif
