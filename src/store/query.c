/* Queries and rows. See query.h. */
#include "store/query.h"

#include "store/query_sql.h"

#include <stdio.h>

static const rl_column key[] = {RL_ID, RL_CREATED_AT};
static const rl_column brief[] = {RL_RUN_ID, RL_STATUS, RL_DURATION_MS, RL_CREATED_AT,
                                  RL_OWNER};
static const rl_column summary[] = {
    RL_ID,         RL_WPK_ID,     RL_RUN_ID,     RL_STATUS,     RL_DURATION_MS,
    RL_THREAD_ID,  RL_ERROR_TYPE, RL_ERROR_TEXT, RL_STARTED_AT, RL_CREATED_AT,
    RL_UPDATED_AT, RL_TOTALS,     RL_OWNER};
static const rl_column whole[] = {
    RL_ID,         RL_WPK_ID,     RL_RUN_ID,     RL_STATUS,          RL_DURATION_MS,
    RL_THREAD_ID,  RL_ERROR_TYPE, RL_ERROR_TEXT, RL_ERROR_TRACEBACK, RL_STARTED_AT,
    RL_CREATED_AT, RL_UPDATED_AT, RL_INPUTS,     RL_OUTPUTS,         RL_NODE_LOGS,
    RL_METADATA,   RL_OWNER,      RL_PARTS};
static const rl_column thread[] = {
    RL_ID,         RL_WPK_ID,     RL_RUN_ID,     RL_STATUS,          RL_DURATION_MS,
    RL_THREAD_ID,  RL_ERROR_TYPE, RL_ERROR_TEXT, RL_ERROR_TRACEBACK, RL_STARTED_AT,
    RL_CREATED_AT, RL_UPDATED_AT, RL_INPUTS,     RL_OUTPUTS,         RL_METADATA,
    RL_OWNER,      RL_PARTS};

static const rl_column counts[] = {RL_SPAN, RL_STATUS, RL_COUNT};
static const rl_column owners[] = {RL_OWNER, RL_COUNT};
static const rl_column newest[] = {RL_WPK_ID, RL_CREATED_AT};

const rl_column *rl_shape_columns(rl_shape shape, size_t *count)
{
    static const struct {
        const rl_column *columns;
        size_t count;
    } shapes[] = {
        [RL_SHAPE_KEY] = {key, sizeof key / sizeof *key},
        [RL_SHAPE_BRIEF] = {brief, sizeof brief / sizeof *brief},
        [RL_SHAPE_SUMMARY] = {summary, sizeof summary / sizeof *summary},
        [RL_SHAPE_WHOLE] = {whole, sizeof whole / sizeof *whole},
        [RL_SHAPE_THREAD] = {thread, sizeof thread / sizeof *thread},
        [RL_SHAPE_COUNT] = {counts, sizeof counts / sizeof *counts},
        [RL_SHAPE_OWNERS] = {owners, sizeof owners / sizeof *owners},
        [RL_SHAPE_NEWEST] = {newest, sizeof newest / sizeof *newest},
    };

    *count = shapes[shape].count;
    return shapes[shape].columns;
}

size_t rl_shape_index(rl_shape shape, rl_column column)
{
    size_t count, i = 0;
    const rl_column *columns = rl_shape_columns(shape, &count);

    while (i < count && columns[i] != column) {
        i++;
    }
    return i;
}

void rl_query_init(rl_query *query, rl_shape shape)
{
    memset(query, 0, sizeof *query);
    query->since = RL_TIME_NONE;
    query->until = RL_TIME_NONE;
    query->shape = shape;
}

bool rl_query_has_filter(const rl_query *query)
{
    bool any = query->since != RL_TIME_NONE || query->until != RL_TIME_NONE ||
               rl_query_searches(query);

    for (int column = 0; column < RL_COLUMNS; column++) {
        any = any || query->texts[column] != NULL;
    }
    return any;
}

bool rl_query_is_quick(const rl_query *query)
{
    return (query->shape == RL_SHAPE_KEY || query->shape == RL_SHAPE_BRIEF ||
            query->shape == RL_SHAPE_SUMMARY) &&
           query->limit <= RL_QUERY_QUICK && query->offset <= RL_QUERY_QUICK &&
           !rl_query_searches(query);
}

bool rl_query_searches(const rl_query *query)
{
    return query->tag != NULL || query->metadata != NULL || query->error != NULL ||
           query->node != NULL;
}

/* Appends a placeholder for the next value, between two pieces of SQL. The second may have
 * it once more, at RL_SQL_SAME. */
static void bind_between(rl_buf *sql, const rl_dialect *dialect, const char *before,
                         const char *after, rl_bindings *bindings, const char *value)
{
    const char *same = strstr(after, RL_SQL_SAME);
    const int until = same != NULL ? (int)(same - after) : (int)strlen(after);

    bindings->values[bindings->count++] = value;
    rl_buf_printf(sql, "%s%c%d%.*s", before, dialect->placeholder, bindings->count, until,
                  after);
    if (same != NULL) {
        rl_buf_printf(sql, "%c%d%s", dialect->placeholder, bindings->count,
                      same + strlen(RL_SQL_SAME));
    }
}

static void bind_value(rl_buf *sql, const rl_dialect *dialect, const char *cast,
                       rl_bindings *bindings, const char *value)
{
    bind_between(sql, dialect, "", cast, bindings, value);
}

static void bind_time(rl_buf *sql, const rl_dialect *dialect, rl_bindings *bindings,
                      int64_t stamp)
{
    char *text = bindings->formatted[bindings->count];

    rl_time_format(stamp, text);
    bind_value(sql, dialect, dialect->time_cast, bindings, text);
}

static void bind_int(rl_buf *sql, const rl_dialect *dialect, rl_bindings *bindings,
                     int64_t number)
{
    char *text = bindings->formatted[bindings->count];

    snprintf(text, sizeof bindings->formatted[0], "%lld", (long long)number);
    bind_value(sql, dialect, dialect->int_cast, bindings, text);
}

/* Appends " WHERE " before the first condition and " AND " before the others. */
static void begin_condition(rl_buf *sql, bool *any)
{
    rl_buf_add_text(sql, *any ? RL_SQL_AND : RL_SQL_WHERE);
    *any = true;
}

/* Whether the planner is not to know what a condition selects. A thread has few runs of
 * other workflows, and nearly all runs complete: it is best to read the runs in the order
 * of pages, and leave out some. Without statistics, SQLite would take the index of whole
 * workflows, and PostgreSQL read and sort all runs, as it expects few. */
static bool is_hidden(const rl_query *query, rl_column column)
{
    return (column == RL_WPK_ID && query->texts[RL_THREAD_ID] != NULL) ||
           (column == RL_STATUS &&
            strcmp(query->texts[RL_STATUS], RL_SQL_COMPLETED) == 0);
}

/* Conditions that columns equal texts. */
static void add_texts(const rl_query *query, const rl_dialect *dialect, rl_buf *sql,
                      rl_bindings *bindings, bool *any)
{
    for (rl_column column = 0; column < RL_COLUMNS; column++) {
        const char *value = query->texts[column];
        bool hidden = value != NULL && is_hidden(query, column);

        if (value != NULL) {
            begin_condition(sql, any);
            rl_buf_printf(sql, "%s%s = ", hidden ? dialect->hidden_before : "",
                          rl_columns[column].name);
            bind_value(sql, dialect, hidden ? dialect->hidden_after : "", bindings,
                       value);
            if (column == RL_STATUS && !hidden) {
                rl_buf_add_text(sql, RL_SQL_NOT_COMPLETED);
            }
        }
    }
}

/* Conditions with one placeholder each. */
static void add_searches(const rl_query *query, const rl_dialect *dialect, rl_buf *sql,
                         rl_bindings *bindings, bool *any)
{
    const struct {
        const char *value, *before, *after;
    } searches[] = {
        {query->ids, dialect->ids_before, dialect->ids_after},
        {query->tag, dialect->tag_before, dialect->tag_after},
        {query->metadata, dialect->metadata_before, dialect->metadata_after},
        {query->error, dialect->error_before, dialect->error_after},
        {query->node, dialect->node_before, dialect->node_after},
    };

    if (query->has_error) {
        begin_condition(sql, any);
        rl_buf_add_text(sql, RL_SQL_HAS_ERROR);
    }
    for (size_t i = 0; i < sizeof searches / sizeof *searches; i++) {
        if (searches[i].value != NULL) {
            begin_condition(sql, any);
            bind_between(sql, dialect, searches[i].before, searches[i].after, bindings,
                         searches[i].value);
        }
    }
}

/* A condition on the place of a row in the order of pages. */
static void add_place(const rl_dialect *dialect, const char *before, int64_t stamp,
                      const char *id, rl_buf *sql, rl_bindings *bindings, bool *any)
{
    begin_condition(sql, any);
    rl_buf_add_text(sql, before);
    bind_time(sql, dialect, bindings, stamp);
    rl_buf_add_text(sql, ", ");
    bind_value(sql, dialect, dialect->id_cast, bindings, id);
    rl_buf_add_char(sql, ')');
}

static void add_conditions(const rl_query *query, const rl_dialect *dialect, rl_buf *sql,
                           rl_bindings *bindings)
{
    /* SQLite would seek to `until`, and walk from there to the cursor; or go on from the
     * last row to `since` */
    const bool below_until = query->after_id != NULL && query->after_time < query->until;
    const bool above_since = query->last_id != NULL && query->last_time >= query->since;
    bool any = false;

    add_texts(query, dialect, sql, bindings, &any);
    add_searches(query, dialect, sql, bindings, &any);
    if (query->since != RL_TIME_NONE && !above_since) {
        begin_condition(sql, &any);
        rl_buf_add_text(sql, RL_SQL_SINCE);
        bind_time(sql, dialect, bindings, query->since);
    }
    if (query->until != RL_TIME_NONE && !below_until) {
        begin_condition(sql, &any);
        rl_buf_add_text(sql, RL_SQL_UNTIL);
        bind_time(sql, dialect, bindings, query->until);
    }
    if (query->after_id != NULL) {
        add_place(dialect, RL_SQL_AFTER, query->after_time, query->after_id, sql,
                  bindings, &any);
    }
    if (query->last_id != NULL) {
        add_place(dialect, RL_SQL_LAST, query->last_time, query->last_id, sql, bindings,
                  &any);
    }
}

/* The SQL that gives a column of a row. */
static const char *column_sql(const rl_query *query, const rl_dialect *dialect,
                              rl_column column)
{
    if (column == RL_TOTALS) {
        return dialect->totals;
    }
    if (column == RL_PARTS) {
        return query->shape == RL_SHAPE_THREAD ? dialect->values : dialect->parts;
    }
    return rl_columns[column].name;
}

/* Appends what selects a column. On several servers, parts that do not name their workflow
 * themselves would be looked for on all of them. */
static void add_column(const rl_query *query, const rl_dialect *dialect, rl_column column,
                       rl_buf *sql)
{
    const char *text = column_sql(query, dialect, column);
    const bool of_parts = text == dialect->parts || text == dialect->values;

    if (of_parts && dialect->is_spread && query->texts[RL_WPK_ID] != NULL) {
        rl_buf_printf(sql, "%.*s AND run_parts.wpk_id = %c%d)", (int)strlen(text) - 1,
                      text, dialect->placeholder, query->texts[RL_ID] != NULL ? 2 : 1);
    } else {
        rl_buf_add_text(sql, text);
    }
}

/* Appends the statement of RL_SHAPE_COUNT. Its two halves have the same filters. */
static void add_counts(const rl_query *query, const rl_dialect *dialect, rl_buf *sql,
                       rl_bindings *bindings)
{
    bool any = true;

    bind_between(sql, dialect, dialect->spans_before, dialect->spans_after, bindings,
                 query->spans);
    rl_buf_add_text(
        sql, RL_SQL_STATES RL_SQL_COUNT_ALL RL_SQL_FROM RL_SQL_WHERE RL_SQL_IN_SPAN);
    add_texts(query, dialect, sql, bindings, &any);
    rl_buf_add_text(sql, RL_SQL_FROM_SPANS RL_SQL_COUNT_STATES RL_SQL_FROM RL_SQL_WHERE
                             RL_SQL_IN_SPAN RL_SQL_AND RL_SQL_OF_STATE);
    bindings->count = 1; /* the second half has the same values */
    add_texts(query, dialect, sql, bindings, &any);
    rl_buf_add_text(sql, RL_SQL_FROM_STATES);
}

/* The same as one pass over the runs: several servers can't look up one status after the
 * other. */
static void add_counts_by_scan(const rl_query *query, const rl_dialect *dialect,
                               rl_buf *sql, rl_bindings *bindings)
{
    bool any = false;

    bind_between(sql, dialect, RL_PG_SCANNED_BEFORE, RL_PG_SCANNED_AFTER, bindings,
                 query->spans);
    rl_buf_add_text(sql, RL_PG_SCAN_ALL);
    add_texts(query, dialect, sql, bindings, &any);
    rl_buf_add_text(sql, RL_PG_SCANNED_ALL RL_SQL_WHERE RL_PG_SCANNED_OTHERS);
    bindings->count = 1; /* the second half has the same values */
    any = true;
    add_texts(query, dialect, sql, bindings, &any);
    rl_buf_add_text(sql, RL_PG_SCANNED_STATES);
}

/* Appends the statement of a shape that is not of runs; false for any other shape. */
static bool add_figures(const rl_query *query, const rl_dialect *dialect, rl_buf *sql,
                        rl_bindings *bindings)
{
    switch (query->shape) {
    case RL_SHAPE_COUNT:
        (dialect->is_spread ? add_counts_by_scan : add_counts)(query, dialect, sql,
                                                               bindings);
        return true;
    case RL_SHAPE_OWNERS:
        rl_buf_add_text(sql, RL_SQL_OWNERS);
        return true;
    case RL_SHAPE_NEWEST:
        bind_between(
            sql, dialect,
            dialect->is_spread ? RL_PG_SCANNED_NEWEST_BEFORE : dialect->newest_before,
            dialect->is_spread ? RL_PG_SCANNED_NEWEST_AFTER : dialect->newest_after,
            bindings, query->workflows);
        return true;
    default:
        return false;
    }
}

void rl_query_sql(const rl_query *query, const rl_dialect *dialect, bool remove,
                  rl_buf *sql, rl_bindings *bindings)
{
    size_t count;
    const rl_column *columns = rl_shape_columns(query->shape, &count);

    bindings->count = 0;
    if (add_figures(query, dialect, sql, bindings)) {
        rl_buf_add_char(sql, '\0');
        return;
    }
    rl_buf_add_text(sql, remove ? RL_SQL_DELETE : RL_SQL_SELECT);
    for (size_t i = 0; i < count && !remove; i++) {
        rl_buf_add_text(sql, i == 0 ? "" : ", ");
        add_column(query, dialect, columns[i], sql);
    }
    rl_buf_add_text(sql, RL_SQL_FROM);
    add_conditions(query, dialect, sql, bindings);
    if (!remove) {
        rl_buf_add_text(sql,
                        query->oldest_first ? RL_SQL_OLDEST_LIMIT : RL_SQL_ORDER_LIMIT);
        bind_int(sql, dialect, bindings, query->limit);
        if (query->offset > 0) {
            rl_buf_add_text(sql, RL_SQL_OFFSET);
            bind_int(sql, dialect, bindings, query->offset);
        }
    }
    rl_buf_add_char(sql, '\0');
}

void rl_rows_init(rl_rows *rows)
{
    rl_buf_init(&rows->cells, RL_BUF_MAX);
    rl_buf_init(&rows->arena, RL_BUF_MAX);
}

void rl_rows_free(rl_rows *rows)
{
    rl_buf_free(&rows->cells);
    rl_buf_free(&rows->arena);
}

void rl_rows_add_null(rl_rows *rows)
{
    rl_cell cell = {.null = true};

    rl_buf_add(&rows->cells, &cell, sizeof cell);
}

void rl_rows_add_number(rl_rows *rows, int64_t number)
{
    rl_cell cell = {.number = number};

    rl_buf_add(&rows->cells, &cell, sizeof cell);
}

void rl_rows_add_text(rl_rows *rows, const char *text, size_t len)
{
    rl_cell cell = {.at = rows->arena.len, .len = len};

    rl_buf_add(&rows->arena, text, len);
    rl_buf_add(&rows->cells, &cell, sizeof cell);
}

void rl_rows_copy(rl_rows *rows, const rl_rows *from, rl_shape shape, size_t first)
{
    size_t width;
    const rl_column *columns = rl_shape_columns(shape, &width);

    for (size_t i = 0; i < width; i++) {
        const rl_cell *cell = rl_rows_cell(from, first + i);
        rl_kind kind = rl_columns[columns[i]].kind;

        if (cell->null) {
            rl_rows_add_null(rows);
        } else if (kind == RL_KIND_INT || kind == RL_KIND_TIME) {
            rl_rows_add_number(rows, cell->number);
        } else {
            rl_rows_add_text(rows, from->arena.data + cell->at, cell->len);
        }
    }
}
