/* A run as a C struct: the encoder fills it, and the stores write it.
 *
 * One arena holds all texts and JSON of a run, each followed by a NUL. The run refers to
 * them by offsets, as the arena may move when it grows. No text contains a NUL: the
 * encoder replaces it.
 * Threads: one thread at a time uses a run. Ownership: the run owns its arena.
 */
#ifndef RL_RUN_H
#define RL_RUN_H

#include "core/buf.h"
#include "core/clock.h"
#include "core/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

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
    RL_ERROR_TRACEBACK,
    RL_STARTED_AT,
    RL_CREATED_AT,
    RL_UPDATED_AT,
    RL_INPUTS,
    RL_OUTPUTS,
    RL_NODE_LOGS,
    RL_METADATA,
    RL_OWNER,
    RL_REVISION,
    RL_COLUMNS,
    RL_PARTS =
        RL_COLUMNS, /* no column: a JSON object of the run's parts, when it is read */
    RL_TOTALS,      /* nor these: a JSON object of numbers in its metadata; */
    RL_SPAN,        /* the number of a span of time, and of runs in it */
    RL_COUNT,
    RL_ALL_COLUMNS
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

extern const rl_column_info rl_columns[RL_ALL_COLUMNS];

/* A text in the arena. */
typedef struct rl_slice {
    size_t at, len;
    bool given; /* false: the column is NULL */
} rl_slice;

/* What the parts of a run are for. A part is a JSON text with a name, in the table
 * run_parts: a value of core/value.h under its own name, or a node log under "n" and ten
 * digits, its index. While a graph's run is open, its row has no node_logs: they are
 * parts, each written once it has changed. Values stay until the run is deleted. */
typedef enum rl_parts_use {
    RL_PARTS_ADD,  /* adds or replaces parts; an open run, or one without node parts */
    RL_PARTS_END,  /* the same, then deletes the node parts: the row has all node_logs */
    RL_PARTS_JOIN, /* the same, then the row's node_logs become all node parts, in the
                      order of their names; then deletes the node parts */
} rl_parts_use;

#define RL_NO_DURATION (-1)

typedef struct rl_run {
    uint8_t id[16];             /* a UUIDv7, made when the run is first recorded */
    rl_slice texts[RL_COLUMNS]; /* the columns of kinds text and JSON */
    int64_t duration_ms;        /* or RL_NO_DURATION */
    /* Microseconds since 1970, or RL_TIME_NONE: updated_at is then the time of the
     * write. */
    int64_t created_at, started_at, updated_at;
    /* Microseconds since 1970, greater for each run that the process seals. Of two
     * records of one run, the one with the greater revision is the later. */
    int64_t revision;
    rl_slice parts;         /* a JSON object of parts by name, or not given */
    rl_parts_use parts_use; /* if parts is given */
    bool wide_numbers;      /* a payload needs rl_json_widen for PostgreSQL */
    bool is_own;            /* the id identifies the run: see store/own_run.h */
    rl_buf arena;           /* owned */
} rl_run;

/* A new, empty run, owned by the caller; NULL without memory. */
rl_run *rl_run_new(void);
void rl_run_free(rl_run *run); /* NULL is fine */

/* Empties the run for its next use. A small arena is retained, a large one freed. */
void rl_run_reset(rl_run *run);

/* Returns the offset of a text that the caller then appends to the arena. */
static inline size_t rl_run_begin(const rl_run *run)
{
    return run->arena.len;
}

/* Ends the text that begins at `at`: appends a NUL, and makes it the column's text. */
void rl_run_end(rl_run *run, rl_column column, size_t at);

/* The same for the run's parts. */
void rl_run_end_parts(rl_run *run, size_t at, rl_parts_use use);

/* Copies `len` bytes into the arena as the column's text. */
void rl_run_set(rl_run *run, rl_column column, const char *text, size_t len);

/* The column's text, ended by a NUL, or NULL if it was not given. Valid until the arena
 * changes. */
static inline const char *rl_run_text(const rl_run *run, rl_column column)
{
    const rl_slice *slice = &run->texts[column];

    return slice->given ? run->arena.data + slice->at : NULL;
}

/* Whether it is a graph's run that has not ended. */
static inline bool rl_run_is_open(const rl_run *run)
{
    const char *status = rl_run_text(run, RL_STATUS);

    return run->texts[RL_OWNER].given && status != NULL && strcmp(status, "running") == 0;
}

/* Completes a run before it is written: sets created_at (unless it is set), the revision,
 * and (unless is_own) the id. RL_NOMEM when an earlier append to the arena has failed. */
rl_status rl_run_seal(rl_run *run, rl_err *err);

#endif
