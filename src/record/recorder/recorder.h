/* The recorder: the front door of the core. It opens the database at the first use, lets each
 * run take its way into it (pipeline.h), has what waits done by a worker thread, and closes
 * the database when nobody is inside any more (gate.h).
 *
 * Threads: every function from any thread. All may wait, but for rl_recorder_try_write; so
 * no other is called with the GIL held. A forked child goes on with the same recorder.
 */
#ifndef RL_RECORDER_H
#define RL_RECORDER_H

#include "core/err.h"
#include "core/metrics.h"
#include "core/notice.h"
#include "core/run.h"
#include "record/commit/journal.h"
#include "record/graph/graph.h"
#include "record/recorder/companion.h"
#include "record/recorder/config.h"
#include "store/store.h"

typedef struct rl_recorder rl_recorder;

/* Makes a recorder; nothing is opened yet. Takes over (steals) what config owns and the
 * companion (or NULL), also when it fails, and leaves config empty. */
rl_status rl_recorder_new(rl_config *config, rl_companion *companion,
                          rl_recorder **recorder, rl_err *err);

/* How long a close that nobody has bounded lets forwarding go on. */
#define RL_CLOSE_NS UINT64_C(4000000000)

/* Closes it if need be (with RL_CLOSE_NS) and frees it. No other call may be under way. */
void rl_recorder_free(rl_recorder *recorder);

/* Commits a sealed run and returns when it is stored. */
rl_status rl_recorder_write(rl_recorder *recorder, rl_run *run, rl_durability durability,
                            rl_err *err);

/* The same without waiting for anybody; RL_BUSY when that can't be. May be called with the
 * GIL held, where giving it up would cost more than the write. */
rl_status rl_recorder_try_write(rl_recorder *recorder, rl_run *run,
                                rl_durability durability, rl_err *err);

/* A graph of this recorder was opened in the table, to be written while it is open in
 * `interval_ns` (which is not RL_LIVE_NEVER). Does not wait. */
void rl_recorder_watch(rl_recorder *recorder, rl_graphs *graphs, uint64_t interval_ns);

rl_status rl_recorder_query(rl_recorder *recorder, const rl_query *query, rl_rows *rows,
                            rl_err *err);
rl_status rl_recorder_remove(rl_recorder *recorder, const rl_query *query, int64_t *count,
                             rl_err *err);

/* For a companion's own calls: between RL_OK and rl_recorder_leave the recorder is not closed.
 * The second also opens the database if need be, and waits a moment for runs on their way to
 * it, as rl_recorder_query does. */
rl_status rl_recorder_enter(rl_recorder *recorder, rl_err *err);
rl_status rl_recorder_enter_to_query(rl_recorder *recorder, rl_err *err);
void rl_recorder_leave(rl_recorder *recorder);
bool rl_recorder_is_ready(rl_recorder *recorder); /* the database was opened */

/* Writes the open runs of graphs as they stand, then waits until what was handed over is
 * committed, what is in the journal was forwarded, and the companion has nothing left to do,
 * or until the monotonic clock shows `end` nanoseconds: RL_TIMEOUT. */
rl_status rl_recorder_flush(rl_recorder *recorder, uint64_t end, rl_err *err);

/* Lets the calls under way end, writes the open runs of graphs, gives forwarding and the
 * companion until `end` (less where a server is away), then closes the database. Later calls
 * give RL_CLOSED. The threads get up to 0.9 s behind `end` to end; several recorders that are
 * given one end share that, too. */
void rl_recorder_close(rl_recorder *recorder, uint64_t end);

/* The next message for the user's log; false when there is none. Never waits. */
bool rl_recorder_take_notice(rl_recorder *recorder, rl_notice *notice);

/* The state of the server and the journal; false where there is no server. May wait. */
bool rl_recorder_get_journal_stats(rl_recorder *recorder, rl_journal_stats *stats);

/* Valid as long as the recorder is. */
const rl_config *rl_recorder_config(const rl_recorder *recorder);
const char *rl_recorder_store_name(const rl_recorder *recorder);
rl_metrics *rl_recorder_metrics(rl_recorder *recorder);
size_t rl_recorder_queued(rl_recorder *recorder); /* runs that wait to be committed */

#endif
