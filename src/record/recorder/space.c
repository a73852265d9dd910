/* Free space, and indexes. See space.h. */
#include "record/recorder/space.h"

#include "core/clock.h"
#include "record/recorder/recorder_state.h"

#include <time.h>

static bool is_done(const rl_reclaim *reclaim)
{
    return reclaim->waits == 0 && (!reclaim->can || reclaim->left == 0);
}

/* A step, and the checkpoint that is due: else the WAL would grow with the steps. The file
 * itself gets shorter when the WAL has been copied into it, and so at the end, too. */
static rl_status reclaim_step(rl_recorder *recorder, rl_reclaim *reclaim, rl_err *err)
{
    rl_store *store = recorder->pipeline.store;
    rl_status status = rl_recorder_enter_to_query(recorder, err);

    if (status != RL_OK) {
        return status;
    }
    if (store->ops->reclaim != NULL) {
        reclaim->pause_ns = 0;
        status = store->ops->reclaim(store, reclaim, err);
        if (status == RL_OK &&
            (is_done(reclaim) || store->ops->needs_checkpoint(store))) {
            status = store->ops->checkpoint(store, err);
        }
    }
    rl_recorder_leave(recorder);
    return status;
}

rl_status rl_recorder_reclaim(rl_recorder *recorder, rl_reclaim *reclaim, uint64_t end,
                              rl_err *err)
{
    rl_status status = RL_OK;
    bool more = true;

    while (status == RL_OK && more) {
        struct timespec pause = {0, 0};

        status = reclaim_step(recorder, reclaim, err);
        more = !is_done(reclaim) && rl_monotonic_ns() < end;
        pause.tv_nsec = (long)reclaim->pause_ns;
        if (status == RL_OK && more) {
            nanosleep(&pause, NULL);
        }
    }
    return status;
}

rl_status rl_recorder_rewrite(rl_recorder *recorder, rl_err *err)
{
    rl_store *store = recorder->pipeline.store;
    rl_status status = rl_recorder_enter_to_query(recorder, err);

    if (status == RL_OK) {
        status = store->ops->rewrite != NULL
                     ? store->ops->rewrite(store, err)
                     : rl_err_set(err, RL_CONFIG,
                                  "only a SQLite file can be rewritten; on PostgreSQL "
                                  "use VACUUM");
        rl_recorder_leave(recorder);
    }
    return status;
}

rl_status rl_recorder_build_indexes(rl_recorder *recorder, rl_err *err)
{
    rl_store *store = recorder->pipeline.store;
    rl_status status = rl_recorder_enter_to_query(recorder, err);

    if (status == RL_OK) {
        status = store->ops->prepare(store, err);
        if (status == RL_OK) {
            status = store->ops->build_indexes(store, err);
        }
        rl_recorder_leave(recorder);
    }
    return status;
}
