/* The parts of runs on PostgreSQL. See pg_parts.h. */
#include "store/postgres/pg_parts.h"

#include "core/json.h"
#include "core/uuid.h"
#include "store/postgres/postgres_sql.h"

#include <stdio.h>

#define PUT_VALUES 5
#define END_VALUES 4

/* The parameters of both statements. Values are borrowed from the run, or from here. */
typedef struct parameters {
    const char *put[PUT_VALUES], *end[END_VALUES];
    char id[RL_UUID_TEXT], revision[24];
} parameters;

static rl_status fill(parameters *all, const rl_run *run, rl_buf *wide, rl_err *err)
{
    const char *parts = run->arena.data + run->parts.at;

    rl_uuid_format(run->id, all->id);
    snprintf(all->revision, sizeof all->revision, "%lld", (long long)run->revision);
    all->put[0] = rl_run_text(run, RL_WPK_ID);
    all->put[1] = run->is_own ? all->id : NULL;
    all->put[2] = run->is_own ? NULL : rl_run_text(run, RL_RUN_ID);
    all->put[3] = parts;
    all->put[4] = all->revision;
    memcpy(all->end, all->put, 3 * sizeof *all->put);
    all->end[3] = run->parts_use == RL_PARTS_JOIN ? "t" : "f";
    if (run->wide_numbers) { /* node parts become jsonb */
        rl_buf_reset(wide, 0);
        rl_json_widen(wide, parts, run->parts.len);
        rl_buf_add_char(wide, '\0');
        all->put[3] = wide->data;
    }
    return run->wide_numbers && wide->failed ? rl_err_nomem(err) : RL_OK;
}

/* Queues one of the statements for each run that needs it. It has no name, and is parsed
 * once for all of them. */
static rl_status send_all(rl_pg_conn *conn, const rl_pg_entry *runs, size_t count,
                          bool end, rl_buf *wide, rl_err *err)
{
    const int values = end ? END_VALUES : PUT_VALUES;
    rl_status status = RL_OK;
    bool sent = true, parsed = false;

    for (size_t i = 0; i < count && status == RL_OK && sent; i++) {
        const rl_run *run = runs[i].run;
        parameters all;

        if (!run->parts.given || (end && run->parts_use == RL_PARTS_ADD)) {
            continue;
        }
        status = fill(&all, run, wide, err);
        if (status == RL_OK && !parsed) {
            sent = PQsendPrepare(conn->pg, "", end ? RL_PG_PARTS_END : RL_PG_PARTS_PUT, 0,
                                 NULL);
            parsed = true;
        }
        sent = status == RL_OK && sent &&
               PQsendQueryPrepared(conn->pg, "", values, end ? all.end : all.put, NULL,
                                   NULL, 0);
    }
    return status == RL_OK && !sent ? rl_pg_conn_error(conn, NULL, err) : status;
}

rl_status rl_pg_parts_send(rl_pg_conn *conn, const rl_pg_entry *runs, size_t count,
                           rl_buf *wide, rl_err *err)
{
    rl_status status = send_all(conn, runs, count, false, wide, err);

    return status == RL_OK ? send_all(conn, runs, count, true, wide, err) : status;
}

rl_status rl_pg_parts_write(rl_pg_conn *conn, const rl_run *run, rl_buf *wide,
                            rl_err *err)
{
    parameters all;
    rl_status status = fill(&all, run, wide, err);

    if (status == RL_OK) {
        status =
            rl_pg_conn_exec(conn, RL_PG_PARTS_PUT, PUT_VALUES, all.put, false, NULL, err);
    }
    if (status == RL_OK && run->parts_use != RL_PARTS_ADD) {
        status =
            rl_pg_conn_exec(conn, RL_PG_PARTS_END, END_VALUES, all.end, false, NULL, err);
    }
    return status;
}
