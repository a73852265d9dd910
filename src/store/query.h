/* Queries and their results.
 *
 * A query has filters, the shape of the rows and a page. rl_query_sql turns it into one
 * SQL statement; every value is a bound parameter. A result is an array of cells, whose
 * texts lie in one arena.
 * Ownership: a query borrows its texts; rows own their memory.
 * Not thread-safe.
 */
#ifndef RL_QUERY_H
#define RL_QUERY_H

#include "core/buf.h"
#include "core/err.h"
#include "core/run.h"

#include <stdint.h>

/* Which columns a row has. */
typedef enum rl_shape {
    RL_SHAPE_KEY,     /* id, created_at: the place of a row in the order of pages */
    RL_SHAPE_BRIEF,   /* run_id, status, duration_ms, created_at, owner */
    RL_SHAPE_SUMMARY, /* all but the JSON payloads and the revision, and the totals */
    RL_SHAPE_WHOLE,   /* all but the revision, and the parts */
    RL_SHAPE_THREAD,  /* the same without node logs; of the parts, the values that the
                         payloads name */
    RL_SHAPE_COUNT,   /* no runs: span, status and count, see rl_query */
    RL_SHAPE_OWNERS,  /* no runs: owner (or NULL) and number of its running runs */
    RL_SHAPE_NEWEST,  /* no runs: workflow and time of its newest run, see rl_query */
} rl_shape;

/* The columns of a shape in their order, static; *count gets their number. */
const rl_column *rl_shape_columns(rl_shape shape, size_t *count);

typedef struct rl_query {
    const char *texts[RL_COLUMNS]; /* borrowed; the column equals this text; NULL: any */
    const char *ids; /* borrowed; comma-separated ids, one of which matches; NULL: any */
    const char *tag; /* borrowed; one of the metadata's tags; NULL: any */
    const char *metadata; /* borrowed; a JSON object of members that the metadata have, of
                             the same values; NULL: any */
    const char *error;    /* borrowed; "type: text" of the error has this text, in letters
                             of either case; NULL: any */
    const char *node;     /* borrowed; a node log has this name; NULL: any */
    bool has_error;       /* only runs with an error */
    int64_t since, until; /* since <= created_at < until, microseconds; or RL_TIME_NONE */
    int64_t after_time;   /* cursor: rows older than (after_time, after_id); */
    const char *after_id; /* borrowed; NULL: from the newest row */
    int64_t last_time;    /* rows that are not older than (last_time, last_id); */
    const char *last_id;  /* borrowed; NULL: to the oldest row */
    int64_t limit, offset; /* rows */
    bool oldest_first;
    bool at_primary; /* never at a replica, which may lag: for what is to be changed */
    /* Borrowed; for RL_SHAPE_COUNT, with texts for filters only: a JSON array of spans of
     * time, as arrays of two time stamps. A row has the number of a span, NULL and the
     * number of its runs; or a span, a status other than completed, and the number of
     * such runs. So indexes suffice, however many runs completed. */
    const char *spans;
    /* Borrowed; for RL_SHAPE_NEWEST: a JSON array of the names of workflows. Each has a
     * row, with NULL for the time if it has no runs. */
    const char *workflows;
    rl_shape shape;
} rl_query;

/* No filters, limit 0. */
void rl_query_init(rl_query *query, rl_shape shape);

/* Whether the query has a filter on texts, metadata or times. */
bool rl_query_has_filter(const rl_query *query);

/* Whether it has a filter that no index serves: tag, metadata, error or node. */
bool rl_query_searches(const rl_query *query);

/* Whether it reads a short page by an index, for which a connection is kept free. */
#define RL_QUERY_QUICK 201 /* rows: of a page, and of a walk over running runs */
bool rl_query_is_quick(const rl_query *query);

/* Texts, ids, tag, metadata, error, node, times, cursor, last row, limit, offset, spans. */
#define RL_QUERY_VALUES (RL_COLUMNS + 14)

/* The values to bind, as text, in the order of the placeholders. */
typedef struct rl_bindings {
    const char *values[RL_QUERY_VALUES]; /* of the query, or in `formatted` */
    int count;
    char formatted[RL_QUERY_VALUES][32]; /* times and numbers */
} rl_bindings;

/* Where the SQL of the two databases differs. */
typedef struct rl_dialect {
    const char *time_cast, *id_cast, *int_cast; /* follow a placeholder of this type */
    const char *ids_before, *ids_after;         /* surround the placeholder of the ids */
    const char *tag_before, *tag_after;         /* and those of a tag */
    const char *metadata_before, *metadata_after; /* and of members of the metadata */
    const char *error_before, *error_after;       /* and of a text in the error */
    const char *node_before, *node_after;         /* and of the name of a node */
    const char *hidden_before, *hidden_after; /* and a condition that no index serves */
    const char *parts;  /* gives the parts of a row of workflow_runs, as RL_PARTS */
    const char *values; /* gives those of RL_SHAPE_THREAD */
    const char *totals; /* gives RL_TOTALS */
    const char *spans_before, *spans_after;   /* surround the placeholder of the spans */
    const char *newest_before, *newest_after; /* and of the names of workflows */
    bool is_spread;                           /* the tables lie on several servers */
    char placeholder;                         /* '?' or '$' */
} rl_dialect;

/* Appends the statement that reads, or with `remove` deletes, what the query selects; a
 * NUL follows it. Fills `bindings`. The caller checks sql->failed. */
void rl_query_sql(const rl_query *query, const rl_dialect *dialect, bool remove,
                  rl_buf *sql, rl_bindings *bindings);

/* One value of a row. */
typedef struct rl_cell {
    bool null;
    int64_t number; /* kinds int and time */
    size_t at, len; /* kinds text, json and uuid: bytes in the arena, no NUL */
} rl_cell;

typedef struct rl_rows {
    rl_buf cells; /* of rl_cell, row after row */
    rl_buf arena; /* the texts */
} rl_rows;

void rl_rows_init(rl_rows *rows);
void rl_rows_free(rl_rows *rows);
void rl_rows_add_null(rl_rows *rows);
void rl_rows_add_number(rl_rows *rows, int64_t number);
void rl_rows_add_text(rl_rows *rows, const char *text, size_t len);

/* Appends a copy of the row of `from` whose first cell is `first`. */
void rl_rows_copy(rl_rows *rows, const rl_rows *from, rl_shape shape, size_t first);

/* The index of a column within a row of the shape; the shape must have it. */
size_t rl_shape_index(rl_shape shape, rl_column column);

static inline size_t rl_rows_cells(const rl_rows *rows)
{
    return rows->cells.len / sizeof(rl_cell);
}

/* Whether an append found no memory. */
static inline bool rl_rows_failed(const rl_rows *rows)
{
    return rows->cells.failed || rows->arena.failed;
}

static inline const rl_cell *rl_rows_cell(const rl_rows *rows, size_t index)
{
    return (const rl_cell *)(const void *)rows->cells.data + index;
}

#endif
