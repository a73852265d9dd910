/* pgvector: the nearest vectors by the database itself, where it has the extension.
 *
 * The extension is never created here. Where it is found (at first use, and looked for
 * again from time to time), migrations of their own add a column, a copy of `vector`.
 * What has no copy yet is read as it is, so a search never misses anything; copies are
 * made by whoever works the outbox off. When the extension is dropped, this is as if it
 * had never been there.
 *
 * Threads: any; each call takes a connection of the pool. Ownership: borrows the pool and
 * the migrations.
 */
#ifndef RL_PG_VECTOR_H
#define RL_PG_VECTOR_H

#include "meaning/outbox/outbox.h"
#include "store/migrate.h"
#include "store/postgres/pg_pool.h"

#define RL_PG_VECTOR_DIM_MAX 16000 /* numbers that the extension takes */
#define RL_PG_QUOTED 132           /* bytes of a name in quotes, with the NUL */

typedef struct rl_pg_vector {
    rl_pg_pool *pool;
    const rl_migrations *migrations; /* NULL: the extension is left alone */
    pthread_mutex_t lock;            /* guards what follows; held for no time */
    bool ready;                      /* the column is there */
    uint64_t look_at;          /* monotonic nanoseconds: before, it is not looked for */
    char schema[RL_PG_QUOTED]; /* of the extension, in quotes */
} rl_pg_vector;

void rl_pg_vector_init(rl_pg_vector *vector, rl_pg_pool *pool,
                       const rl_migrations *migrations);
void rl_pg_vector_destroy(rl_pg_vector *vector);

/* See `nearest` in outbox.h. *available false (and RL_OK): there is no extension to
 * search with. */
rl_status rl_pg_vector_nearest(rl_pg_vector *vector, const rl_near_query *query,
                               rl_vector_sink sink, void *ctx, bool *available,
                               rl_err *err);

/* Gives the sink the vector of a row whose columns are id as text, any, and the vector.
 * */
rl_status rl_pg_vector_give(const PGresult *result, int row, rl_vector_sink sink,
                            void *ctx, rl_err *err);

/* Makes copies for a moment. What fails is tried again by the next call. */
void rl_pg_vector_copy(rl_pg_vector *vector);

/* Around a fork. */
void rl_pg_vector_before_fork(rl_pg_vector *vector);
void rl_pg_vector_after_fork(rl_pg_vector *vector);

#endif
