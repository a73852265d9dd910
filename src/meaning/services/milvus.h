/* A client of Milvus for the collection of runs, over gRPC (milvus.proto, service
 * MilvusService).
 *
 * The client creates a missing collection with the fields id (VarChar, the primary key),
 * wpk_id, status, run_id (VarChar), created_at (Int64, microseconds since 1970) and
 * embedding (FloatVector, HNSW, COSINE). An existing collection must fit: else
 * RL_SERVICE, not retryable, names the field and the two dimensions or types. The client
 * loads the collection, and loads it again after a restart of the server. Of two
 * processes that create it at once, one uses what the other has created.
 *
 * A text longer than its field (wpk_id and run_id 65,535 bytes, status 64, or the limits
 * of an existing collection) is cut at a UTF-8 boundary, in rows and in searches alike.
 * An id is never cut.
 *
 * net/http.h says how certificates are verified.
 *
 * Threads: one at a time. Ownership: everything passed is borrowed for the call.
 */
#ifndef RL_MILVUS_H
#define RL_MILVUS_H

#include "core/err.h"
#include "meaning/services/milvus_row.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RL_MILVUS_COLLECTION "workflow_runs"

typedef struct rl_milvus rl_milvus;

typedef struct rl_milvus_options {
    const char *endpoint; /* "http://host:19530", "https://..."; the default is http */
    const char *token; /* "user:password", an API key, or NULL; never part of an error */
    const char *collection;  /* RL_MILVUS_COLLECTION */
    uint64_t timeout_ns;     /* of one attempt */
    bool strong;             /* searches see every upsert (Strong), or those older
                                than a few seconds (Bounded) */
    const atomic_bool *stop; /* borrowed as long as the client lives, or NULL */
} rl_milvus_options;

/* Makes a client; connects at the first call. RL_CONFIG for an endpoint that can't be
 * used (see milvus_endpoint.h); RL_NOMEM. */
rl_status rl_milvus_new(const rl_milvus_options *options, rl_milvus **milvus,
                        rl_err *err);
void rl_milvus_free(rl_milvus *milvus);    /* NULL: does nothing */
void rl_milvus_abandon(rl_milvus *milvus); /* in the child of a fork */

/* The operations. Each makes at most `attempts` of every call that may be retried, until
 * the monotonic clock shows `end` nanoseconds. RL_SERVICE: retryable (no connection,
 * time-out, rate limit, not loaded yet) or not (refused token, a collection that does not
 * fit, a bad parameter). RL_INVALID for arguments that can't be sent: a vector with NaN
 * or an infinity, a dim of 0 or above 32,768, an empty id or one of RL_MILVUS_ID bytes or
 * more, a limit out of its bounds. RL_CLOSED after a stop; RL_NOMEM.
 *
 * An upsert is split into calls of at most 4 MiB and 1,000 rows; when one fails, the
 * calls before it stay in effect. Of two rows with the same id the later one wins. */
rl_status rl_milvus_upsert(rl_milvus *milvus, const rl_milvus_row *rows, size_t count,
                           uint32_t dim, unsigned attempts, uint64_t end, rl_err *err);
rl_status rl_milvus_delete(rl_milvus *milvus, const char *const *ids, size_t count,
                           unsigned attempts, uint64_t end, rl_err *err);

/* hits [limit], best first; *count gets their number, 0 when there is no collection. */
rl_status rl_milvus_find(rl_milvus *milvus, const rl_milvus_search *search,
                         unsigned attempts, uint64_t end, rl_milvus_hit *hits,
                         size_t *count, rl_err *err);

#endif
