/* What may be asked of a store, and what it answers.
 *
 * A query names filters, the shape of the rows and a page; rl_query_sql turns it into one
 * SQL statement whose values are all bound, never written into it. Rows are kept as cells
 * over one arena. Ownership: a query borrows its texts; rows own their memory.
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
    RL_SHAPE_BRIEF,   /* run_id, status, duration_ms, created_at, owner */
    RL_SHAPE_SUMMARY, /* all but the payloads and the revision */
    RL_SHAPE_WHOLE,   /* all but the revision */
} rl_shape;

/* The columns of a shape, in order, the owner at last; *count gets how many. */
const rl_column *rl_shape_columns(rl_shape shape, size_t *count);

typedef struct rl_query {
    const char *texts[RL_COLUMNS]; /* borrowed: equal to this; NULL: any */
    const char *ids;      /* borrowed: one of these, with commas in between; NULL: any */
    int64_t since, until; /* created at or after, before; or RL_TIME_NONE */
    int64_t after_time;   /* the cursor: rows older than (this time, after_id), */
    const char *after_id; /* borrowed; NULL: from the newest */
    int64_t limit, offset;
    rl_shape shape;
} rl_query;

void rl_query_init(rl_query *query, rl_shape shape);
bool rl_query_has_filter(const rl_query *query);

/* Values to bind, as text in the order of the placeholders. */
#define RL_QUERY_VALUES (RL_COLUMNS + 7) /* texts, ids, times, cursor, limit, offset */

typedef struct rl_bindings {
    const char *values[RL_QUERY_VALUES]; /* borrowed from the query, or from `own` */
    int count;
    char own[RL_QUERY_VALUES][32];
} rl_bindings;

/* How a database writes what the two don't write alike. */
typedef struct rl_dialect {
    const char *text_cast, *time_cast, *id_cast, *int_cast; /* behind a placeholder */
    const char *ids_before, *ids_after;                     /* around that of ids */
    char placeholder;                                       /* '?' or '$' */
} rl_dialect;

/* Builds the statement that reads (or, with `remove`, deletes). The SQL ends with a NUL. */
void rl_query_sql(const rl_query *query, const rl_dialect *dialect, bool remove,
                  rl_buf *sql, rl_bindings *bindings);

/* One value of a row. */
typedef struct rl_cell {
    bool null;
    int64_t number; /* kinds int and time */
    size_t at, len; /* kinds text, json and uuid: in the arena, without a NUL */
} rl_cell;

typedef struct rl_rows {
    rl_buf cells; /* of rl_cell */
    rl_buf arena;
} rl_rows;

void rl_rows_init(rl_rows *rows);
void rl_rows_free(rl_rows *rows);
void rl_rows_add_null(rl_rows *rows);
void rl_rows_add_number(rl_rows *rows, int64_t number);
void rl_rows_add_text(rl_rows *rows, const char *text, size_t len);

/* Appends a copy of the row of `from` that begins with the cell `first`. */
void rl_rows_copy(rl_rows *rows, const rl_rows *from, rl_shape shape, size_t first);

/* Where a column stands in a row of a shape that has it. */
size_t rl_shape_index(rl_shape shape, rl_column column);

static inline size_t rl_rows_cells(const rl_rows *rows)
{
    return rows->cells.len / sizeof(rl_cell);
}

static inline bool rl_rows_failed(const rl_rows *rows)
{
    return rows->cells.failed || rows->arena.failed;
}

static inline const rl_cell *rl_rows_cell(const rl_rows *rows, size_t index)
{
    return (const rl_cell *)(const void *)rows->cells.data + index;
}

#endif
