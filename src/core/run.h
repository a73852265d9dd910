/* A run, as C: what the encoder fills and the stores write.
 *
 * All texts and payloads of a run stand in one arena, each with a NUL behind it, and are
 * named by their offsets, so that the arena may move while it grows. NUL never stands
 * inside of one: the encoder replaces it.
 * Threads: a run belongs to one thread at a time. Ownership: the run owns its arena.
 */
#ifndef RL_RUN_H
#define RL_RUN_H

#include "core/buf.h"
#include "core/clock.h"
#include "core/err.h"

#include <stdbool.h>
#include <stdint.h>

/* The columns of workflow_runs, in the order in which the statements name them. */
typedef enum rl_column {
    RL_ID,
    RL_WPK_ID,
    RL_RUN_ID,
    RL_STATUS,
    RL_DURATION_MS,
    RL_THREAD_ID,
    RL_ERROR_TYPE,
    RL_ERROR_TEXT,
    RL_STARTED_AT,
    RL_CREATED_AT,
    RL_UPDATED_AT,
    RL_INPUTS,
    RL_OUTPUTS,
    RL_NODE_LOGS,
    RL_METADATA,
    RL_OWNER,
    RL_REVISION,
    RL_COLUMNS
} rl_column;

typedef enum rl_kind {
    RL_KIND_UUID,
    RL_KIND_TEXT,
    RL_KIND_INT,
    RL_KIND_TIME,
    RL_KIND_JSON
} rl_kind;

typedef struct rl_column_info {
    const char *name;
    rl_kind kind;
} rl_column_info;

extern const rl_column_info rl_columns[RL_COLUMNS];

/* A text in the arena. */
typedef struct rl_slice {
    size_t at, len;
    bool given;
} rl_slice;

#define RL_NO_DURATION (-1)

typedef struct rl_run {
    uint8_t id[16];             /* a UUIDv7, made when the run is first recorded */
    rl_slice texts[RL_COLUMNS]; /* those of kind text and json */
    int64_t duration_ms;        /* or RL_NO_DURATION */
    int64_t created_at, started_at, updated_at; /* microseconds since 1970, or
                          RL_TIME_NONE; updated_at: when it is written, if not given */
    int64_t revision;  /* microseconds since 1970, growing with each run of the process:
                          of two logs of one run, the greater is the later one */
    bool wide_numbers; /* a payload needs rl_json_widen for PostgreSQL */
    bool is_own;       /* the id is the record's own: one of another id, under the same
                          (wpk_id, run_id), is another run */
    rl_buf arena;      /* owned */
} rl_run;

/* A new, empty run, owned by the caller; NULL when there is no memory. */
rl_run *rl_run_new(void);
void rl_run_free(rl_run *run); /* NULL is fine */

/* Empties it for the next use, keeping a small arena. */
void rl_run_reset(rl_run *run);

/* Begins a text at the end of the arena, which is then appended to. */
static inline size_t rl_run_begin(const rl_run *run)
{
    return run->arena.len;
}

/* Ends the text that began at `at`: puts a NUL behind it and makes it the column's. */
void rl_run_end(rl_run *run, rl_column column, size_t at);

/* Copies `len` bytes into the arena as the column's text. */
void rl_run_set(rl_run *run, rl_column column, const char *text, size_t len);

/* The column's text, with a NUL behind it, or NULL where it was not given. Valid until
 * the arena changes. */
static inline const char *rl_run_text(const rl_run *run, rl_column column)
{
    const rl_slice *slice = &run->texts[column];

    return slice->given ? run->arena.data + slice->at : NULL;
}

/* Stamps the run with created_at (unless it is set already), and gives it its revision and,
 * unless it has its own, its id. RL_NOMEM when an append to the arena failed before. */
rl_status rl_run_seal(rl_run *run, rl_err *err);

#endif
