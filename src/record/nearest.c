/* The nearest vectors of a store. See nearest.h. */
#include "record/nearest.h"

#include "core/alloc.h"
#include "core/clock.h"
#include "core/hash.h"
#include "core/lock.h"

#include <string.h>

/* Vectors that do not fit are looked at in portions of so many bytes. */
#define PORTION_BYTES ((size_t)8 << 20)

/* So many more than are wanted come from the database, whose cosines are less exact. */
#define MARGIN 16

#define ANEW_NS UINT64_C(3600000000000)

void rl_nearest_init(rl_nearest *nearest, rl_outbox *outbox, const char *model,
                     size_t max_bytes)
{
    memset(nearest, 0, sizeof *nearest);
    nearest->outbox = outbox;
    nearest->model = model;
    nearest->max_bytes = max_bytes;
    nearest->anew_ns = ANEW_NS;
    pthread_mutex_init(&nearest->lock, NULL);
    rl_cond_init(&nearest->idle);
}

/* Takes the lock when nobody scans any more: what it guards may be changed. Each search begins
 * with this, so that scans come to an end. */
static void lock_alone(rl_nearest *nearest)
{
    pthread_mutex_lock(&nearest->lock);
    while (nearest->readers > 0) {
        pthread_cond_wait(&nearest->idle, &nearest->lock);
    }
}

void rl_nearest_clear(rl_nearest *nearest)
{
    lock_alone(nearest);
    rl_vectors_free(nearest->vectors);
    nearest->vectors = NULL;
    memset(&nearest->cursor, 0, sizeof nearest->cursor);
    nearest->full = false;
    pthread_mutex_unlock(&nearest->lock);
}

void rl_nearest_destroy(rl_nearest *nearest)
{
    rl_vectors_free(nearest->vectors);
    pthread_cond_destroy(&nearest->idle);
    pthread_mutex_destroy(&nearest->lock);
}

static uint64_t group_of(const char *wpk_id)
{
    return rl_hash(wpk_id, strlen(wpk_id));
}

/* What does not fit ends the reading. */
static rl_status keep(void *ctx, const uint8_t id[16], const char *wpk_id,
                      const void *vector, uint32_t dim, rl_err *err)
{
    rl_vectors *vectors = ((rl_nearest *)ctx)->vectors;
    rl_vectors_put_result result = RL_VECTORS_BAD; /* of another model's: left out */

    if (dim == rl_vectors_dim(vectors)) {
        result = rl_vectors_put(vectors, id, group_of(wpk_id), vector);
    }
    ((rl_nearest *)ctx)->changes += result == RL_VECTORS_KEPT;
    if (result == RL_VECTORS_NOMEM) {
        return rl_err_nomem(err);
    }
    return result == RL_VECTORS_FULL ? RL_TIMEOUT : RL_OK;
}

static rl_status begin_anew(rl_nearest *nearest, uint32_t dim, rl_err *err)
{
    rl_vectors_free(nearest->vectors);
    nearest->full = false;
    nearest->changes++;
    nearest->begun = rl_monotonic_ns();
    nearest->vectors = rl_vectors_new(dim, nearest->max_bytes);
    return nearest->vectors != NULL ? RL_OK : rl_err_nomem(err);
}

/* Reads what is new. The caller is alone. */
static rl_status refresh(rl_nearest *nearest, uint32_t dim, rl_err *err)
{
    rl_outbox *outbox = nearest->outbox;
    rl_status status = RL_OK;

    if (nearest->vectors == NULL || rl_vectors_dim(nearest->vectors) != dim ||
        (nearest->full && rl_monotonic_ns() - nearest->begun >= nearest->anew_ns)) {
        nearest->cursor.stamp = 0;
        nearest->cursor.id[0] = '\0';
        status = begin_anew(nearest, dim, err);
    }
    if (status == RL_OK && !nearest->full) {
        status = outbox->ops->vectors(outbox, nearest->model, &nearest->cursor, keep,
                                      nearest, err);
        if (status == RL_BUSY) { /* what is kept is of another database */
            status = begin_anew(nearest, dim, err);
            if (status == RL_OK) {
                status = outbox->ops->vectors(outbox, nearest->model, &nearest->cursor,
                                              keep, nearest, err);
            }
        }
        nearest->full = status == RL_TIMEOUT;
    }
    return nearest->full ? RL_OK : status;
}

/* Looks through vectors as they come, a portion at a time. */
typedef struct passing {
    rl_nearest *nearest;
    bool
        replaces; /* of those that are kept the vector is made new, else all are looked at */
    const rl_nearest_query *query;
    const uint64_t *group;
    rl_vectors *portion; /* owned */
    rl_vector_hit *best; /* [limit] */
    rl_vector_hit *some; /* [limit], of a portion */
    size_t count;
} passing;

/* The vector of a run that came twice was made anew: what was read last counts. */
static void forget_hit(passing *self, const uint8_t id[16])
{
    for (size_t i = 0; i < self->count; i++) {
        if (memcmp(self->best[i].id, id, sizeof self->best[i].id) == 0) {
            self->count--;
            memmove(&self->best[i], &self->best[i + 1],
                    (self->count - i) * sizeof *self->best);
            break;
        }
    }
}

static bool is_better(const rl_vector_hit *a, const rl_vector_hit *b)
{
    return a->score > b->score ||
           (a->score == b->score && memcmp(a->id, b->id, sizeof a->id) < 0);
}

static void add_hit(passing *self, const rl_vector_hit *hit)
{
    size_t at;

    forget_hit(self, hit->id);
    at = self->count;
    if (self->count < self->query->limit) {
        self->count++;
    } else if (is_better(hit, &self->best[at - 1])) {
        at--;
    } else {
        return;
    }
    while (at > 0 && is_better(hit, &self->best[at - 1])) {
        self->best[at] = self->best[at - 1];
        at--;
    }
    self->best[at] = *hit;
}

/* Adds the nearest of some vectors. */
static rl_status add_from(passing *self, const rl_vectors *vectors, rl_err *err)
{
    size_t found = rl_vectors_search(vectors, self->query->vector, self->group,
                                     self->query->limit, self->some);

    if (found == RL_VECTORS_NO_MEMORY) {
        return rl_err_nomem(err);
    }
    for (size_t i = 0; i < found; i++) {
        add_hit(self, &self->some[i]);
    }
    return RL_OK;
}

/* Searches a portion, and empties it. */
static rl_status end_portion(passing *self, rl_err *err)
{
    rl_status status = add_from(self, self->portion, err);

    rl_vectors_free(self->portion);
    self->portion = rl_vectors_new(self->query->dim, PORTION_BYTES);
    return status == RL_OK && self->portion == NULL ? rl_err_nomem(err) : status;
}

static rl_status pass(void *ctx, const uint8_t id[16], const char *wpk_id,
                      const void *vector, uint32_t dim, rl_err *err)
{
    passing *self = ctx;
    rl_vectors_put_result result = RL_VECTORS_BAD;
    rl_status status = RL_OK;

    if (dim == self->query->dim) {
        bool kept = self->replaces && rl_vectors_get(self->nearest->vectors, id) != NULL;

        result = rl_vectors_put(kept ? self->nearest->vectors : self->portion, id,
                                group_of(wpk_id), vector);
        if (kept) { /* else the lock may not be held */
            self->nearest->changes++;
        }
    }
    if (result == RL_VECTORS_FULL) {
        status = end_portion(self, err);
        if (status == RL_OK) {
            result = rl_vectors_put(self->portion, id, group_of(wpk_id), vector);
        }
    }
    return result == RL_VECTORS_NOMEM ? rl_err_nomem(err) : status;
}

static rl_status begin_passing(passing *self, rl_err *err)
{
    self->some = rl_calloc(self->query->limit, sizeof *self->some);
    self->portion = rl_vectors_new(self->query->dim, PORTION_BYTES);
    return self->some == NULL || self->portion == NULL ? rl_err_nomem(err) : RL_OK;
}

static void end_passing(passing *self)
{
    rl_vectors_free(self->portion);
    rl_free(self->some);
}

/* Looks at what is not kept, then at what is. The caller is alone: a vector that is kept may
 * have been made anew since. */
static rl_status search_all(rl_nearest *nearest, const rl_nearest_query *query,
                            const uint64_t *group, rl_vector_hit *hits, size_t *count,
                            rl_err *err)
{
    rl_outbox *outbox = nearest->outbox;
    rl_vector_cursor cursor = nearest->cursor;
    passing self = {.nearest = nearest,
                    .replaces = true,
                    .query = query,
                    .group = group,
                    .best = hits};
    rl_status status = begin_passing(&self, err);

    if (status == RL_OK) {
        status = outbox->ops->vectors(outbox, nearest->model, &cursor, pass, &self, err);
    }
    if (status == RL_OK) {
        status = end_portion(&self, err);
    }
    if (status == RL_OK) {
        status = add_from(&self, nearest->vectors, err);
    }
    *count = status == RL_OK ? self.count : 0;
    end_passing(&self);
    return status;
}

/* Searches what is kept, beside others who do. Gives up the lock meanwhile. */
static rl_status search_kept(rl_nearest *nearest, const rl_nearest_query *query,
                             const uint64_t *group, rl_vector_hit *hits, size_t *count,
                             rl_err *err)
{
    size_t found;

    nearest->readers++;
    pthread_mutex_unlock(&nearest->lock);
    found = rl_vectors_search(nearest->vectors, query->vector, group, query->limit, hits);
    pthread_mutex_lock(&nearest->lock);
    if (--nearest->readers == 0) {
        pthread_cond_broadcast(&nearest->idle);
    }
    *count = found != RL_VECTORS_NO_MEMORY ? found : 0;
    return found != RL_VECTORS_NO_MEMORY ? RL_OK : rl_err_nomem(err);
}

/* Lets the database search, where it can. Its candidates are ranked here, so that a score is
 * the same bits however it was found. */
static rl_status search_in_store(rl_nearest *nearest, const rl_nearest_query *query,
                                 const uint64_t *group, rl_vector_hit *hits,
                                 size_t *count, bool *available, rl_err *err)
{
    rl_outbox *outbox = nearest->outbox;
    const rl_near_query wanted = {.model = nearest->model,
                                  .vector = query->vector,
                                  .dim = query->dim,
                                  .wpk_id = query->wpk_id,
                                  .status = query->status,
                                  .since = query->since,
                                  .limit = query->limit + MARGIN};
    passing self = {.nearest = nearest, .query = query, .group = group, .best = hits};
    rl_status status;

    *available = false;
    if (outbox->ops->nearest == NULL) {
        return RL_OK;
    }
    status = begin_passing(&self, err);
    if (status == RL_OK) {
        status = outbox->ops->nearest(outbox, &wanted, pass, &self, available, err);
    }
    if (status == RL_OK && *available) {
        status = end_portion(&self, err);
    }
    *count = status == RL_OK && *available ? self.count : 0;
    end_passing(&self);
    return status;
}

rl_status rl_nearest_search(rl_nearest *nearest, const rl_nearest_query *query,
                            rl_vector_hit *hits, size_t *count, uint64_t *as_of,
                            rl_err *err)
{
    const uint64_t hash = query->wpk_id != NULL ? group_of(query->wpk_id) : 0;
    const uint64_t *group = query->wpk_id != NULL ? &hash : NULL;
    bool done = false;
    rl_status status;

    *as_of = 0;
    status = search_in_store(nearest, query, group, hits, count, &done, err);
    if (status != RL_OK || done) {
        return status;
    }
    lock_alone(nearest);
    do {
        status = refresh(nearest, query->dim, err);
        done = status == RL_OK && nearest->full;
        if (done) {
            status = search_all(nearest, query, group, hits, count, err);
            nearest->full = status != RL_BUSY; /* another database is there now */
        }
    } while (done && status == RL_BUSY);
    *as_of = nearest->changes;
    if (status == RL_OK && !done) {
        status = search_kept(nearest, query, group, hits, count, err);
    }
    pthread_mutex_unlock(&nearest->lock);
    return status;
}

void rl_nearest_forget(rl_nearest *nearest, const rl_vector_hit *hits, size_t count,
                       uint64_t as_of)
{
    lock_alone(nearest);
    if (nearest->vectors != NULL && nearest->changes == as_of) {
        for (size_t i = 0; i < count; i++) {
            rl_vectors_drop(nearest->vectors, hits[i].id);
        }
        nearest->full = false; /* there may be room for what follows */
    }
    pthread_mutex_unlock(&nearest->lock);
}

size_t rl_nearest_bytes(rl_nearest *nearest)
{
    size_t bytes;

    pthread_mutex_lock(&nearest->lock);
    bytes = nearest->vectors != NULL ? rl_vectors_bytes(nearest->vectors) : 0;
    pthread_mutex_unlock(&nearest->lock);
    return bytes;
}

/* A search may wait for the database, so a fork does not wait for it. */
void rl_nearest_before_fork(rl_nearest *nearest)
{
    nearest->held = pthread_mutex_trylock(&nearest->lock) == 0;
}

void rl_nearest_after_fork(rl_nearest *nearest, bool in_child)
{
    if (in_child && nearest->held) {
        nearest->readers = 0; /* they, and who waits for them, are in the parent */
        rl_cond_init(&nearest->idle);
        pthread_mutex_unlock(&nearest->lock);
    } else if (in_child) { /* who was changing it is in the parent */
        rl_nearest_init(nearest, nearest->outbox, nearest->model, nearest->max_bytes);
    } else if (nearest->held) {
        pthread_mutex_unlock(&nearest->lock);
    }
}
