/* Two runs with one name. See own_run.h. */
#include "store/own_run.h"

#include "core/uuid.h"

#define TRIES 100 /* to insert under a free name before another process takes it */

rl_status rl_own_skipped(rl_err *err)
{
    rl_err_set(err, RL_STORE, "a trigger of the table workflow_runs skipped the row");
    if (err != NULL) {
        err->rejected = true;
    }
    return RL_STORE;
}

void rl_own_log_refusal(rl_notices *notices, const char *database, const rl_run *run,
                        const rl_err *reason)
{
    rl_notices_add(notices, RL_NOTICE_WARNING,
                   "runs with one run_id are stored, but don't trade names, because %s "
                   "refuses to rename them (logged once): %.400s; run_id %s of the "
                   "workflow %s",
                   database, reason->text, rl_run_text(run, RL_RUN_ID),
                   rl_run_text(run, RL_WPK_ID));
}

static void make_name(rl_buf *name, const rl_run *run, unsigned number)
{
    name->len = 0;
    rl_buf_printf(name, "%s~%u", rl_run_text(run, RL_RUN_ID), number);
    rl_buf_add_char(name, '\0');
}

static rl_status is_taken(const rl_own_ops *ops, void *ctx, const rl_run *run,
                          unsigned number, rl_buf *name, bool *taken, rl_err *err)
{
    make_name(name, run, number);
    return name->failed ? rl_err_nomem(err)
                        : ops->taken(ctx, run, name->data, taken, err);
}

/* Finds the first free number. Numbers are given without gaps, so a doubling search and
 * then a binary search find it in O(log n) queries. */
static rl_status find_free(const rl_own_ops *ops, void *ctx, const rl_run *run,
                           rl_buf *name, unsigned *number, rl_err *err)
{
    unsigned low = 1, high = 2; /* low is taken, high may be free */
    bool taken = true;
    rl_status status;

    do {
        status = is_taken(ops, ctx, run, high, name, &taken, err);
        if (status == RL_OK && taken) {
            low = high;
            high *= 2;
        }
    } while (status == RL_OK && taken && high > low);
    while (status == RL_OK && high - low > 1) {
        unsigned middle = low + (high - low) / 2;

        status = is_taken(ops, ctx, run, middle, name, &taken, err);
        *(taken ? &low : &high) = middle;
    }
    *number = high;
    return status;
}

static rl_status insert_renamed(const rl_own_ops *ops, void *ctx, const rl_run *run,
                                rl_buf *name, rl_err *err)
{
    unsigned number = 0;
    int skipped = 0; /* inserts in turn that made no row, though the name was free */
    bool done = false, taken;
    rl_status status = RL_OK;

    for (int i = 0; i < TRIES && status == RL_OK && !done && skipped < RL_OWN_SKIPS;
         i++) {
        status = find_free(ops, ctx, run, name, &number, err);
        if (status == RL_OK) {
            make_name(name, run, number);
            status = name->failed ? rl_err_nomem(err)
                                  : ops->insert(ctx, run, name->data, &done, err);
        }
        if (status == RL_OK && !done) {
            status = ops->taken(ctx, run, name->data, &taken, err);
            skipped = taken ? 0 : skipped + 1;
        }
    }
    if (status == RL_OK && skipped == RL_OWN_SKIPS) {
        status = rl_own_skipped(err);
    } else if (status == RL_OK && !done) {
        status =
            rl_err_set(err, RL_STORE,
                       "run_id: no name was free for another run of this run_id, because "
                       "other processes took %d names first; log it again",
                       TRIES);
    }
    return status;
}

static rl_status find(const rl_own_ops *ops, void *ctx, const rl_run *run, rl_buf *name,
                      rl_err *err)
{
    rl_status status = ops->find(ctx, run, name, err);

    return status == RL_OK && name->failed ? rl_err_nomem(err) : status;
}

/* Has the run's row, which is stored under that name, trade names if it is ahead. */
static rl_status trade(const rl_own_ops *ops, void *ctx, const rl_run *run,
                       const char *name, rl_err *err)
{
    char id[RL_UUID_TEXT]; /* no number, and no name of the user's: never taken */
    rl_status status;
    rl_buf spare;

    rl_uuid_format(run->id, id);
    rl_buf_init(&spare, RL_BUF_MAX);
    rl_buf_printf(&spare, "%s~%s", rl_run_text(run, RL_RUN_ID), id);
    rl_buf_add_char(&spare, '\0');
    status =
        spare.failed ? rl_err_nomem(err) : ops->trade(ctx, run, name, spare.data, err);
    rl_buf_free(&spare);
    return status;
}

/* Merges the run into the row that has its id. Another process may rename that row
 * meanwhile: if nothing was changed, and it has another name by now, once more. Sets
 * *name to the row's name, empty if the row is gone. */
static rl_status insert_found(const rl_own_ops *ops, void *ctx, const rl_run *run,
                              rl_buf *name, rl_err *err)
{
    bool done = false, moved = true;
    rl_status status = RL_OK;
    rl_buf before;

    rl_buf_init(&before, RL_BUF_MAX);
    for (int i = 0; i < TRIES && status == RL_OK && !done && moved && name->len > 0;
         i++) {
        status = ops->insert(ctx, run, name->data, &done, err);
        if (status == RL_OK && !done) {
            before.len = 0;
            rl_buf_add(&before, name->data, name->len);
            name->len = 0;
            status = before.failed ? rl_err_nomem(err) : find(ops, ctx, run, name, err);
            moved = status == RL_OK && (name->len != before.len ||
                                        memcmp(name->data, before.data, before.len) != 0);
        }
    }
    rl_buf_free(&before);
    return status;
}

rl_status rl_own_insert(const rl_own_ops *ops, void *ctx, const rl_run *run, rl_err *err)
{
    rl_buf name;
    rl_status status;

    rl_buf_init(&name, RL_BUF_MAX);
    status = find(ops, ctx, run, &name, err);
    if (status == RL_OK) {
        status = insert_found(ops, ctx, run, &name, err);
    }
    if (status == RL_OK && name.len == 0) {
        status = insert_renamed(ops, ctx, run, &name, err);
    }
    if (status == RL_OK && strcmp(name.data, rl_run_text(run, RL_RUN_ID)) != 0) {
        status = trade(ops, ctx, run, name.data, err);
    }
    rl_buf_free(&name);
    return status;
}
