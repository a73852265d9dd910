/* What a command does for a recorder's database: gives the space back that deletions have
 * left free in its file, and builds indexes.
 *
 * Threads: any, without the GIL.
 */
#ifndef RL_SPACE_H
#define RL_SPACE_H

#include "record/recorder/recorder.h"

/* Goes on giving free space back in short steps, until there is no more or until `end`
 * (nanoseconds of the monotonic clock). In between others read and write, and the recorder
 * may be closed. Nothing happens on PostgreSQL: `can` stays false, and `left` 0. */
rl_status rl_recorder_reclaim(rl_recorder *recorder, rl_reclaim *reclaim, uint64_t end,
                              rl_err *err);

/* Rewrites the whole file in one step. RL_CONFIG on PostgreSQL. */
rl_status rl_recorder_rewrite(rl_recorder *recorder, rl_err *err);

/* Applies the migrations that were left for later, as they build indexes of many runs. May
 * take hours, in which the recorder can't be closed; others read and write meanwhile. */
rl_status rl_recorder_build_indexes(rl_recorder *recorder, rl_err *err);

#endif
