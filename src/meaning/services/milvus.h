/* Milvus: the collection of runs, over gRPC (milvus.proto, service MilvusService).
 *
 * The collection is made when it is missing: id (VarChar, the primary key), wpk_id, status,
 * run_id (VarChar), created_at (Int64, microseconds since 1970) and embedding (FloatVector,
 * HNSW, COSINE). One that is there must fit: else RL_SERVICE, not retryable, whose text names
 * the field and the two dimensions or types. It is loaded, and loaded again after the server
 * was restarted. Of two processes that make it at once, one finds what the other made.
 *
 * A text that is longer than its field (wpk_id and run_id 65,535 bytes, status 64, or
 * what an existing collection has) is cut at a UTF-8 boundary; in a search the same way. An id
 * is never cut. Texts are valid UTF-8.
 *
 * Certificates are verified as net/http.h says.
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
    const char *endpoint; /* "http://host:19530", "https://..."; without a scheme http */
    const char *token;    /* "user:password", an API key, or NULL; goes into no error */
    const char *collection;  /* RL_MILVUS_COLLECTION */
    uint64_t timeout_ns;     /* of one attempt */
    bool strong;             /* searches see what was upserted just before (Strong), else
                                what was a few seconds ago (Bounded) */
    const atomic_bool *stop; /* borrowed as long as the client lives, or NULL */
} rl_milvus_options;

/* RL_CONFIG for an endpoint that is no URL of http or https, or that has a user, a path or
 * anything else behind the port; without a port it is 19530, or 443 for https. Nothing is
 * connected yet. */
rl_status rl_milvus_new(const rl_milvus_options *options, rl_milvus **milvus,
                        rl_err *err);
void rl_milvus_free(rl_milvus *milvus);    /* NULL is fine */
void rl_milvus_abandon(rl_milvus *milvus); /* in the child of a fork */

/* Each makes at most `attempts` of the calls that can be made again, until the monotonic
 * clock shows `end`. RL_SERVICE: retryable (not reached, time-out, rate limits, not loaded
 * yet) or not (refused token, a collection that does not fit, a bad parameter). RL_INVALID for
 * what can't be sent: a vector with NaN or an infinity, a dim of 0 or above 32,768, an id of 0
 * or more than RL_MILVUS_ID - 1 bytes, a limit out of its bounds.
 *
 * An upsert goes in calls of at most 4 MiB and 1,000 rows; when it fails, those before may have
 * been upserted. Of two rows with the same id the later one stays. */
rl_status rl_milvus_upsert(rl_milvus *milvus, const rl_milvus_row *rows, size_t count,
                           uint32_t dim, unsigned attempts, uint64_t end, rl_err *err);
rl_status rl_milvus_delete(rl_milvus *milvus, const char *const *ids, size_t count,
                           unsigned attempts, uint64_t end, rl_err *err);

/* hits [limit], best first; *count how many. A collection that does not exist has none. */
rl_status rl_milvus_find(rl_milvus *milvus, const rl_milvus_search *search,
                         unsigned attempts, uint64_t end, rl_milvus_hit *hits,
                         size_t *count, rl_err *err);

#endif
