/* A run as a C struct. See run.h. */
#include "core/run.h"

#include "core/alloc.h"
#include "core/uuid.h"

#include <stdatomic.h>

/* Bytes of arena to retain for the next run; more is freed. */
#define ARENA_RETAINED ((size_t)256 * 1024)

const rl_column_info rl_columns[RL_ALL_COLUMNS] = {
    [RL_ID] = {"id", RL_KIND_UUID},
    [RL_WPK_ID] = {"wpk_id", RL_KIND_TEXT},
    [RL_RUN_ID] = {"run_id", RL_KIND_TEXT},
    [RL_STATUS] = {"status", RL_KIND_TEXT},
    [RL_DURATION_MS] = {"duration_ms", RL_KIND_INT},
    [RL_THREAD_ID] = {"thread_id", RL_KIND_TEXT},
    [RL_ERROR_TYPE] = {"error_type", RL_KIND_TEXT},
    [RL_ERROR_TEXT] = {"error_text", RL_KIND_TEXT},
    [RL_ERROR_TRACEBACK] = {"error_traceback", RL_KIND_TEXT},
    [RL_STARTED_AT] = {"started_at", RL_KIND_TIME},
    [RL_CREATED_AT] = {"created_at", RL_KIND_TIME},
    [RL_UPDATED_AT] = {"updated_at", RL_KIND_TIME},
    [RL_INPUTS] = {"inputs", RL_KIND_JSON},
    [RL_OUTPUTS] = {"outputs", RL_KIND_JSON},
    [RL_NODE_LOGS] = {"node_logs", RL_KIND_JSON},
    [RL_METADATA] = {"metadata", RL_KIND_JSON},
    [RL_OWNER] = {"owner", RL_KIND_TEXT},
    [RL_REVISION] = {"revision", RL_KIND_INT},
    [RL_PARTS] = {"parts", RL_KIND_TEXT},
    [RL_TOTALS] = {"totals", RL_KIND_JSON},
    [RL_SPAN] = {"span", RL_KIND_INT},
    [RL_COUNT] = {"count", RL_KIND_INT},
};

rl_run *rl_run_new(void)
{
    rl_run *run = rl_malloc(sizeof *run);

    if (run != NULL) {
        rl_buf_init(&run->arena, RL_BUF_MAX);
        rl_run_reset(run);
    }
    return run;
}

void rl_run_free(rl_run *run)
{
    if (run != NULL) {
        rl_buf_free(&run->arena);
        rl_free(run);
    }
}

void rl_run_reset(rl_run *run)
{
    rl_buf_reset(&run->arena, ARENA_RETAINED);
    memset(run->texts, 0, sizeof run->texts);
    run->duration_ms = RL_NO_DURATION;
    run->created_at = RL_TIME_NONE;
    run->started_at = RL_TIME_NONE;
    run->updated_at = RL_TIME_NONE;
    memset(&run->parts, 0, sizeof run->parts);
    run->parts_use = RL_PARTS_ADD;
    run->revision = 0;
    run->wide_numbers = false;
    run->is_own = false;
}

static void end_slice(rl_run *run, rl_slice *slice, size_t at)
{
    slice->at = at;
    slice->len = run->arena.len - at;
    slice->given = true;
    rl_buf_add_char(&run->arena, '\0');
}

void rl_run_end(rl_run *run, rl_column column, size_t at)
{
    end_slice(run, &run->texts[column], at);
}

void rl_run_end_parts(rl_run *run, size_t at, rl_parts_use use)
{
    end_slice(run, &run->parts, at);
    run->parts_use = use;
}

void rl_run_set(rl_run *run, rl_column column, const char *text, size_t len)
{
    size_t at = rl_run_begin(run);

    rl_buf_add(&run->arena, text, len);
    rl_run_end(run, column, at);
}

/* The wall clock, but greater than every value before, even when the clock is set
 * back. */
static int64_t next_revision(void)
{
    static atomic_int_fast64_t last;
    int_fast64_t before = atomic_load(&last), now = rl_time_now();
    int_fast64_t next;

    do {
        next = now > before ? now : before + 1;
    } while (!atomic_compare_exchange_weak(&last, &before, next));
    return next;
}

rl_status rl_run_seal(rl_run *run, rl_err *err)
{
    if (run->arena.failed) {
        return rl_err_nomem(err);
    }
    if (run->created_at == RL_TIME_NONE) {
        run->created_at = rl_time_now();
    }
    run->revision = next_revision();
    return run->is_own ? RL_OK : rl_uuid7(run->created_at, run->id, err);
}
