/* The outbox of embeddings: rows of run_embeddings, which say what is still to be done about
 * a run (see migration 004). What the two databases' answers have in common.
 *
 * Ownership: jobs own their memory; results and rules borrow.
 */
#ifndef RL_OUTBOX_H
#define RL_OUTBOX_H

#include "core/buf.h"
#include "core/err.h"
#include "core/run.h"
#include "core/uuid.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Which text of a run is embedded; see meaning/outbox/embed_text.h. */
typedef struct rl_embed_rule {
    const char *path; /* borrowed; NULL: outputs.text, or the last message */
} rl_embed_rule;

/* What a log of a run means for its row in the outbox. */
typedef enum rl_outbox_action {
    RL_OUTBOX_TOUCH, /* a row that is there is worked on again */
    RL_OUTBOX_QUEUE, /* a row is made, too */
} rl_outbox_action;

rl_outbox_action rl_outbox_action_of(const rl_embed_rule *rule, const rl_run *run);

typedef enum rl_outbox_state {
    RL_OUTBOX_PENDING,
    RL_OUTBOX_EMBEDDED,
    RL_OUTBOX_DONE,
    RL_OUTBOX_FAILED,
    RL_OUTBOX_DELETED,
    RL_OUTBOX_STATES
} rl_outbox_state;

extern const char *const rl_outbox_state_names[RL_OUTBOX_STATES];
bool rl_outbox_state_parse(const char *name, rl_outbox_state *state);

/* Which row. */
typedef struct rl_outbox_key {
    const char *id, *wpk_id;
} rl_outbox_key;

/* Bytes of outputs after which a claim takes no more rows: one may have many megabytes. */
#define RL_OUTBOX_BYTES ((size_t)8 << 20)

/* Which rows are taken, and until when nobody else takes them: their lease. */
typedef struct rl_outbox_claim {
    rl_outbox_state state; /* pending, embedded or deleted */
    size_t limit;          /* rows at most */
    int64_t now, until;    /* microseconds since 1970 */
} rl_outbox_claim;

/* A row that was taken. Texts are offsets into the arena of the jobs, each with a NUL. */
typedef struct rl_outbox_job {
    char id[RL_UUID_TEXT];
    int64_t version;
    int64_t lease;                        /* until when it was taken */
    unsigned attempts;                    /* this one included */
    size_t wpk_id, run_id, status, model; /* the last three "" where there are none */
    int64_t created_at;
    size_t outputs, outputs_len; /* JSON; only of pending rows */
    uint64_t text_hash;          /* of the text that the vector is of */
    size_t vector;               /* float32 [dim] in the arena, aligned */
    uint32_t dim;                /* 0: there is no vector */
    bool gone;                   /* the run is not there any more */
} rl_outbox_job;

typedef struct rl_outbox_jobs {
    rl_buf list; /* of rl_outbox_job */
    rl_buf arena;
} rl_outbox_jobs;

void rl_outbox_jobs_init(rl_outbox_jobs *jobs);
void rl_outbox_jobs_free(rl_outbox_jobs *jobs);
void rl_outbox_jobs_clear(
    rl_outbox_jobs *jobs); /* for the next claim; keeps some memory */

static inline size_t rl_outbox_job_count(const rl_outbox_jobs *jobs)
{
    return jobs->list.len / sizeof(rl_outbox_job);
}

static inline const rl_outbox_job *rl_outbox_job_at(const rl_outbox_jobs *jobs,
                                                    size_t index)
{
    return (const rl_outbox_job *)(const void *)jobs->list.data + index;
}

static inline bool rl_outbox_jobs_failed(const rl_outbox_jobs *jobs)
{
    return jobs->list.failed || jobs->arena.failed;
}

/* Each appends to the arena and gives the offset. */
size_t rl_outbox_add_text(rl_outbox_jobs *jobs, const char *text, size_t len);
size_t rl_outbox_add_vector(rl_outbox_jobs *jobs, const void *vector, size_t bytes);

static inline const char *rl_outbox_text(const rl_outbox_jobs *jobs, size_t at)
{
    return jobs->arena.data + at;
}

static inline const float *rl_outbox_vector(const rl_outbox_jobs *jobs,
                                            const rl_outbox_job *job)
{
    return (const float *)(const void *)(jobs->arena.data + job->vector);
}

/* What has become of a row that was taken. A row whose version has grown meanwhile, or which
 * another process has taken since, stays as it is; the first one can be taken again now. */
typedef enum rl_outbox_outcome {
    RL_OUTBOX_HAS_VECTOR, /* it is `embedded` now, with this vector */
    RL_OUTBOX_HAS_TEXT,   /* the vector that it has is that of its text: `embedded` */
    RL_OUTBOX_UPSERTED,   /* it is `done` */
    RL_OUTBOX_HAS_NONE, /* there is nothing to embed: the row goes, or is to be deleted */
    RL_OUTBOX_REMOVED,  /* it is not in Milvus any more: the row goes */
    RL_OUTBOX_REFUSED,  /* it is `failed`, with this error */
    RL_OUTBOX_AGAIN,    /* it is free again at `again_at`, with this error */
} rl_outbox_outcome;

typedef struct rl_outbox_result {
    rl_outbox_key name;
    int64_t version, lease; /* as they were taken */
    rl_outbox_outcome outcome;
    const char *error; /* or NULL */
    int64_t again_at;  /* microseconds since 1970 */
    const char *model; /* and what follows: of a new vector */
    const float *vector;
    uint32_t dim;
    uint64_t text_hash;
    size_t text_bytes, used_bytes;
} rl_outbox_result;

/* How much there is. */
typedef struct rl_outbox_counts {
    int64_t rows[RL_OUTBOX_STATES]; /* but for `done`, and perhaps `embedded` */
    char last_error[256];           /* of a row that failed last; "" without */
} rl_outbox_counts;

/* Takes a vector: float32 [dim], perhaps not aligned, borrowed for the call. RL_OK to go on;
 * anything else ends the reading with that. */
typedef rl_status (*rl_vector_sink)(void *ctx, const uint8_t id[16], const void *vector,
                                    uint32_t dim, rl_err *err);

/* How many rows a scan of vectors reads at once: about 4 MB of them. */
static inline int64_t rl_vector_block(uint32_t dim)
{
    const int64_t rows = ((int64_t)4 << 20) / ((int64_t)dim * (int64_t)sizeof(float) + 1);

    return rows < 1 ? 1 : rows > 1000 ? 1000 : rows;
}

/* The vectors that are nearest to one, of the runs that fit the filters. */
typedef struct rl_near_query {
    const char *model;
    const float *vector; /* [dim] */
    uint32_t dim;
    const char *wpk_id, *status; /* as stored; NULL: of any */
    int64_t since;               /* microseconds since 1970, or RL_TIME_NONE */
    size_t limit;                /* at least 1 */
} rl_near_query;

typedef struct rl_outbox rl_outbox;

/* What an outbox does. Every function may be called by any thread, and may wait. */
typedef struct rl_outbox_ops {
    /* Takes rows that are due, so that nobody else does until the time given; replaces what
     * was in jobs. */
    rl_status (*claim)(rl_outbox *outbox, const rl_outbox_claim *claim,
                       rl_outbox_jobs *jobs, rl_err *err);
    /* Writes what has become of rows, in one transaction. */
    rl_status (*finish)(rl_outbox *outbox, const rl_outbox_result *results, size_t count,
                        rl_err *err);
    /* Counts rows; those that are `embedded` only when asked to, as without a Milvus all of
     * them are. */
    rl_status (*count)(rl_outbox *outbox, bool embedded, rl_outbox_counts *counts,
                       rl_err *err);

    /* Gives the sink the vector of one run, if it has one. */
    rl_status (*vector)(rl_outbox *outbox, const rl_outbox_key *name, const char *model,
                        rl_vector_sink sink, void *ctx, rl_err *err);

    /* Gives the sink every vector that may be one of the `limit` nearest by cosine, in any
     * order, some perhaps twice: all that fit the filters, where the database can't compare
     * vectors itself. Reads a block at a time, and holds no lock in between. A vector that
     * is stored meanwhile may be missed. */
    rl_status (*nearest)(rl_outbox *outbox, const rl_near_query *query,
                         rl_vector_sink sink, void *ctx, rl_err *err);

    /* Around a fork, before the store's own and after them. NULL where nothing is locked. */
    void (*before_fork)(rl_outbox *outbox);
    void (*after_fork)(rl_outbox *outbox);

    /* Frees the outbox. No other call may be under way. */
    void (*free)(rl_outbox *outbox);
} rl_outbox_ops;

struct rl_outbox {
    const rl_outbox_ops *ops;
};

#endif
