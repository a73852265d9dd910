/* Search by pgvector, in databases that have the extension.
 *
 * runlog never creates the extension. It looks for the extension at first use and again
 * from time to time. When it finds it, separate migrations add a column `embedding`, a
 * copy of `vector` in the extension's type. The indexer fills the copies. A search also
 * reads the vectors that have no copy yet, so it misses nothing. When somebody drops the
 * extension, searches scan as if it had never been there.
 *
 * Threads: any; each call takes a connection of the pool. Ownership: borrows the pool,
 * the reader and the migrations.
 */
#ifndef RL_PG_VECTOR_H
#define RL_PG_VECTOR_H

#include "meaning/outbox/outbox.h"
#include "store/migrate.h"
#include "store/postgres/pg_reader.h"

#define RL_PG_VECTOR_DIM_MAX 16000 /* the extension's limit */
#define RL_PG_QUOTED 132           /* bytes of a name in quotes, with the NUL */

typedef struct rl_pg_vector {
    rl_pg_pool *pool;                /* for copies */
    rl_pg_reader *reader;            /* for searches */
    const rl_migrations *migrations; /* NULL: never use the extension */
    pthread_mutex_t lock;            /* guards what follows; never held while waiting */
    bool ready;                      /* the column exists */
    uint64_t check_at;         /* monotonic nanoseconds: when to look for it again */
    char schema[RL_PG_QUOTED]; /* of the extension, in quotes */
} rl_pg_vector;

void rl_pg_vector_init(rl_pg_vector *vector, rl_pg_pool *pool, rl_pg_reader *reader,
                       const rl_migrations *migrations);
void rl_pg_vector_destroy(rl_pg_vector *vector);

/* As `nearest` in outbox.h. RL_OK with *available false: there is no extension, and the
 * sink was not called. */
rl_status rl_pg_vector_nearest(rl_pg_vector *vector, const rl_near_query *query,
                               rl_vector_sink sink, void *ctx, bool *available,
                               rl_err *err);

/* Calls the sink with the vector of a row, whose columns are id as text, any, and the
 * vector. */
rl_status rl_pg_vector_give(const PGresult *result, int row, rl_vector_sink sink,
                            void *ctx, rl_err *err);

/* Makes copies, for 0.2 s at most; the next call goes on, and tries again after a
 * failure. */
void rl_pg_vector_copy(rl_pg_vector *vector);

/* Around a fork. */
void rl_pg_vector_before_fork(rl_pg_vector *vector);
void rl_pg_vector_after_fork(rl_pg_vector *vector);

#endif
