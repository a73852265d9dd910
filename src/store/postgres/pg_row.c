/* The parameters of a run's insert. See pg_row.h. */
#include "store/postgres/pg_row.h"

#include "core/json.h"
#include "store/postgres/pg_conn.h"
#include "store/postgres/postgres_sql.h"

#include <string.h>

/* Object identifiers of built-in types (PostgreSQL's pg_type.dat); they never change. */
#define OID_BOOL 16
#define OID_INT4 23
#define OID_INT8 20
#define OID_TEXT 25
#define OID_TIMESTAMPTZ 1184
#define OID_UUID 2950
#define OID_JSONB 3802

/* The parameters after the columns, counted from 0. */
#define IS_OWN RL_COLUMNS
#define FLAG (RL_COLUMNS + 1)

const Oid rl_pg_types[RL_PG_PARAMETERS] = {
    OID_UUID,        OID_TEXT,        OID_TEXT,  OID_TEXT,  OID_INT4,
    OID_TEXT,        OID_TEXT,        OID_TEXT,  OID_TEXT,  OID_TIMESTAMPTZ,
    OID_TIMESTAMPTZ, OID_TIMESTAMPTZ, OID_JSONB, OID_JSONB, OID_JSONB,
    OID_JSONB,       OID_TEXT,        OID_INT8,  OID_BOOL,  OID_BOOL};

const int rl_pg_formats[RL_PG_PARAMETERS] = {
    [RL_ID] = 1,         [RL_DURATION_MS] = 1, [RL_STARTED_AT] = 1, [RL_CREATED_AT] = 1,
    [RL_UPDATED_AT] = 1, [RL_REVISION] = 1,    [IS_OWN] = 1,        [FLAG] = 1};

const rl_pg_statement *rl_pg_insert_by(const rl_pg_hook *hook)
{
    static const rl_pg_statement plain = {RL_PG_INSERT, RL_PG_INSERT_NAME, FLAG};

    return hook != NULL ? &hook->insert : &plain;
}

const rl_pg_statement *rl_pg_merge_by(const rl_pg_hook *hook)
{
    static const rl_pg_statement plain = {RL_PG_MERGE, RL_PG_MERGE_NAME, FLAG};

    return hook != NULL ? &hook->merge : &plain;
}

static void put_big_endian(char *out, uint64_t value, int size)
{
    for (int i = 0; i < size; i++) {
        out[i] = (char)(value >> (8 * (size - 1 - i)));
    }
}

static void set_number(rl_pg_row *row, int column, uint64_t number, int size)
{
    put_big_endian(row->numbers[column], number, size);
    row->values[column] = row->numbers[column];
    row->lengths[column] = size;
}

static void set_time(rl_pg_row *row, rl_column column, int64_t stamp)
{
    if (stamp != RL_TIME_NONE) {
        set_number(row, column, (uint64_t)(stamp - RL_PG_EPOCH), 8);
    }
}

/* Rewrites payloads into `wide`: jsonb returns a double such as 1e16 as an integer. */
static rl_status widen_payloads(rl_buf *wide, const rl_run *run, rl_pg_row *row,
                                rl_err *err)
{
    size_t at[RL_COLUMNS] = {0};

    rl_buf_reset(wide, 0);
    for (int column = 0; column < RL_COLUMNS; column++) {
        const rl_slice *slice = &run->texts[column];

        if (rl_columns[column].kind == RL_KIND_JSON && slice->given) {
            at[column] = wide->len;
            rl_json_widen(wide, run->arena.data + slice->at, slice->len);
            rl_buf_add_char(wide, '\0');
        }
    }
    if (wide->failed) {
        return rl_err_nomem(err);
    }
    for (int column = 0; column < RL_COLUMNS; column++) {
        if (rl_columns[column].kind == RL_KIND_JSON && run->texts[column].given) {
            row->values[column] = wide->data + at[column];
        }
    }
    return RL_OK;
}

rl_status rl_pg_row_fill(rl_pg_row *row, const rl_run *run, int64_t now,
                         const rl_pg_hook *hook, rl_buf *wide, rl_err *err)
{
    memset(row, 0, sizeof *row);
    for (int column = 0; column < RL_COLUMNS; column++) {
        row->values[column] = rl_run_text(run, (rl_column)column);
    }
    row->values[RL_ID] = (const char *)run->id;
    row->lengths[RL_ID] = 16;
    if (run->duration_ms != RL_NO_DURATION) {
        set_number(row, RL_DURATION_MS, (uint64_t)run->duration_ms, 4);
    }
    set_time(row, RL_STARTED_AT, run->started_at);
    set_time(row, RL_CREATED_AT, run->created_at);
    set_time(row, RL_UPDATED_AT, run->updated_at != RL_TIME_NONE ? run->updated_at : now);
    set_number(row, RL_REVISION, (uint64_t)run->revision, 8);
    set_number(row, IS_OWN, run->is_own, 1);
    if (hook != NULL) {
        set_number(row, FLAG, hook->flag(hook->ctx, run), 1);
    }
    return run->wide_numbers ? widen_payloads(wide, run, row, err) : RL_OK;
}
