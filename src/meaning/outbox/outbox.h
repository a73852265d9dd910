/* The outbox of embeddings: the rows of table run_embeddings (migration 004). The state
 * of a row says what the indexer has to do next about a run. This header is what SQLite's
 * outbox and PostgreSQL's have in common.
 *
 * Ownership: jobs own their memory; keys, results, queries and rules borrow.
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

/* The rule that finds the text of a run; see embed_text.h. */
typedef struct rl_embed_rule {
    const char *path; /* borrowed; NULL: outputs.text, or the last message */
} rl_embed_rule;

/* The effect of a log of a run on its row of the outbox. */
typedef enum rl_outbox_action {
    RL_OUTBOX_REQUEUE, /* an existing row becomes pending again */
    RL_OUTBOX_QUEUE,   /* the same, and a missing row is inserted */
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

/* The names that the database has for them. parse: false for an unknown name. */
extern const char *const rl_outbox_state_names[RL_OUTBOX_STATES];
bool rl_outbox_state_parse(const char *name, rl_outbox_state *state);

/* The key of a row: the id of the run as text, and its workflow. */
typedef struct rl_outbox_key {
    const char *id, *wpk_id;
} rl_outbox_key;

/* Bytes of outputs after which a claim takes no more rows: one run may have many
 * megabytes. */
#define RL_OUTBOX_BYTES ((size_t)8 << 20)

/* A longer value is not read: no embedding server takes that much. As SQL. */
#define RL_OUTBOX_VALUE "1000000"

/* Which rows to claim. The claimer has them to itself until the lease ends. */
typedef struct rl_outbox_claim {
    rl_outbox_state state; /* pending, embedded or deleted */
    size_t limit;          /* rows at most */
    int64_t now, until;    /* microseconds since 1970; until: the end of the lease */
} rl_outbox_claim;

/* A claimed row. Texts are offsets into the arena of the jobs, each with a NUL. */
typedef struct rl_outbox_job {
    char id[RL_UUID_TEXT];
    int64_t version;
    int64_t lease;                        /* its end, microseconds since 1970 */
    unsigned attempts;                    /* this claim included */
    size_t wpk_id, run_id, status, model; /* the last three: "" for NULL */
    int64_t created_at;                   /* of the run: microseconds since 1970 */
    size_t outputs, outputs_len;          /* JSON; only of pending rows */
    size_t values, values_len;            /* JSON of the outputs' values; the same */
    uint64_t text_hash;                   /* of the text that was embedded */
    size_t vector;                        /* float32 [dim] in the arena, aligned */
    uint32_t dim;                         /* 0: no vector */
    bool run_deleted;
} rl_outbox_job;

typedef struct rl_outbox_jobs {
    rl_buf list; /* of rl_outbox_job */
    rl_buf arena;
} rl_outbox_jobs;

void rl_outbox_jobs_init(rl_outbox_jobs *jobs);
void rl_outbox_jobs_free(rl_outbox_jobs *jobs);
void rl_outbox_jobs_clear(rl_outbox_jobs *jobs); /* retains some memory */

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

/* Append to the arena and return the offset; rl_outbox_jobs_failed without memory. */
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

/* The result of a claimed row. A row stays unchanged when its run was logged again
 * meanwhile (its version has grown; the row can be claimed again at once), or when
 * another process has claimed it after the lease. */
typedef enum rl_outbox_outcome {
    RL_OUTBOX_NEW_VECTOR, /* becomes `embedded`, with this vector */
    RL_OUTBOX_SAME_TEXT,  /* becomes `embedded`: its vector is that of its text */
    RL_OUTBOX_UPSERTED,   /* becomes `done` */
    RL_OUTBOX_NO_TEXT,  /* is deleted, or becomes `deleted` where Milvus has its vector */
    RL_OUTBOX_REMOVED,  /* is deleted: Milvus no longer has its vector */
    RL_OUTBOX_REJECTED, /* becomes `failed`, with this error */
    RL_OUTBOX_POSTPONED, /* can be claimed again at `again_at`, with this error */
} rl_outbox_outcome;

typedef struct rl_outbox_result {
    rl_outbox_key key;
    int64_t version, lease; /* of the job */
    rl_outbox_outcome outcome;
    const char *error; /* or NULL */
    int64_t again_at;  /* microseconds since 1970 */
    /* of RL_OUTBOX_NEW_VECTOR */
    const char *model;
    const float *vector;
    uint32_t dim;
    uint64_t text_hash;
    size_t text_bytes, used_bytes; /* of the text, and of what the server embedded */
} rl_outbox_result;

typedef struct rl_outbox_counts {
    int64_t rows[RL_OUTBOX_STATES]; /* never `done`; `embedded` only if asked for */
    char last_error[256];           /* of the row that failed last, or "" */
} rl_outbox_counts;

/* Called for each vector that is read: float32 [dim], perhaps not aligned, borrowed for
 * the call. Any status but RL_OK ends the reading, which returns it. */
typedef rl_status (*rl_vector_sink)(void *ctx, const uint8_t id[16], const void *vector,
                                    uint32_t dim, rl_err *err);

/* How many rows a scan of vectors reads at once: about 4 MB. */
static inline int64_t rl_vector_block(uint32_t dim)
{
    const int64_t rows = ((int64_t)4 << 20) / ((int64_t)dim * (int64_t)sizeof(float) + 1);

    return rows < 1 ? 1 : rows > 1000 ? 1000 : rows;
}

/* The vectors of a model nearest to a given one, of the runs that match the filters. */
typedef struct rl_near_query {
    const char *model;
    const float *vector; /* [dim] */
    uint32_t dim;
    const char *wpk_id, *status; /* NULL: any */
    int64_t since;               /* microseconds since 1970, or RL_TIME_NONE */
    size_t limit;                /* at least 1 */
} rl_near_query;

/* A walk over all runs that queues those without a vector of the model: they have no row,
 * as they were logged without a key; their text was refused; or theirs is another one's. */
typedef struct rl_outbox_walk {
    const char *model;
    uint32_t dim; /* that vectors must have; 0: any */
    /* Where it goes on, as the outbox writes it; "" at first. */
    char txid[24], id[RL_UUID_TEXT];
    int64_t queued; /* runs so far */
    bool more;      /* true at first */
} rl_outbox_walk;

#define RL_OUTBOX_WALK_RUNS "500" /* that a step of the walk looks at; as SQL */

typedef struct rl_outbox rl_outbox;

/* The functions of an outbox. Any thread may call them, and all but the last three may
 * wait for the database. They return RL_STORE for its errors, or RL_NOMEM. */
typedef struct rl_outbox_ops {
    /* Claims rows, and replaces the contents of jobs. After an error jobs may hold
     * anything. */
    rl_status (*claim)(rl_outbox *outbox, const rl_outbox_claim *claim,
                       rl_outbox_jobs *jobs, rl_err *err);
    /* Records the results of claimed rows. A result is recorded whole or not at all. */
    rl_status (*finish)(rl_outbox *outbox, const rl_outbox_result *results, size_t count,
                        rl_err *err);
    /* Lets rows be claimed at once that could not be before `beyond` (microseconds since
     * 1970). */
    rl_status (*recall)(rl_outbox *outbox, int64_t beyond, rl_err *err);
    /* Counts rows; the `embedded` ones only if asked to: without Milvus all rows end
     * there, and nothing waits. */
    rl_status (*count)(rl_outbox *outbox, bool embedded, rl_outbox_counts *counts,
                       rl_err *err);

    /* Takes a step of the walk, in a transaction of its own. */
    rl_status (*queue)(rl_outbox *outbox, rl_outbox_walk *walk, rl_err *err);

    /* Calls the sink with the vector of one run, if it has one. */
    rl_status (*vector)(rl_outbox *outbox, const rl_outbox_key *key, const char *model,
                        rl_vector_sink sink, void *ctx, rl_err *err);

    /* Calls the sink with every vector that may be among the `limit` nearest by cosine,
     * in any order, some perhaps twice. Where the database can't compare vectors, these
     * are all that match the filters. Reads a block at a time, and holds no lock in
     * between, so it may miss a vector that is stored meanwhile. */
    rl_status (*nearest)(rl_outbox *outbox, const rl_near_query *query,
                         rl_vector_sink sink, void *ctx, rl_err *err);

    /* Around a fork, outside of the store's hooks. NULL for an outbox without locks. */
    void (*before_fork)(rl_outbox *outbox);
    void (*after_fork)(rl_outbox *outbox);

    /* No other call may be in progress. */
    void (*free)(rl_outbox *outbox);
} rl_outbox_ops;

struct rl_outbox {
    const rl_outbox_ops *ops;
};

#endif
