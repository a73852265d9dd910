/* The recorder: the interface of the core. It opens the database at the first use, passes
 * runs to the pipeline (pipeline.h), runs the worker thread, and closes everything once
 * no call is under way (gate.h).
 *
 * Threads: every function from any thread. All may wait, except where the comment says
 * that it does not, so they are called without the GIL. A forked child goes on with the
 * same recorder. Times named `end` are nanoseconds of the monotonic clock.
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
#include "record/recorder/counting.h"
#include "record/recorder/deletion.h"
#include "record/recorder/gauges.h"
#include "record/recorder/listing.h"
#include "store/store.h"

typedef struct rl_recorder rl_recorder;

/* Makes a recorder; opens nothing yet. Steals the contents of config, which is empty
 * afterwards, and the companions (a list, or NULL), also when it fails. */
rl_status rl_recorder_new(rl_config *config, rl_companion *companions,
                          rl_recorder **recorder, rl_err *err);

/* The time that a close without a given end allows for forwarding. */
#define RL_CLOSE_NS UINT64_C(4000000000)

/* Closes the recorder if need be (with RL_CLOSE_NS) and frees it. No other call may be
 * under way. */
void rl_recorder_free(rl_recorder *recorder);

/* Commits a sealed run (borrowed). RL_STORE or RL_CONFIG when the database does not take
 * it. */
rl_status rl_recorder_write(rl_recorder *recorder, rl_run *run, rl_durability durability,
                            rl_err *err);

/* The same without waiting; RL_BUSY where it would have to wait. For callers that hold
 * the GIL because releasing it would cost more than the write. */
rl_status rl_recorder_try_write(rl_recorder *recorder, rl_run *run,
                                rl_durability durability, rl_err *err);

/* Has the worker write the open graphs of this recorder in the table (borrowed) every
 * `interval_ns` (not RL_LIVE_NEVER). Called whenever a graph was opened. Does not
 * wait. */
void rl_recorder_watch(rl_recorder *recorder, rl_graphs *graphs, uint64_t interval_ns);

/* What the open graphs of this recorder may take. Borrowed: valid as long as it. */
rl_memory rl_recorder_memory(rl_recorder *recorder);

/* Open graphs in the table (borrowed) take much memory: the worker takes some back, and
 * with `wait`, where they take more than they may, the caller a little. Only then it
 * waits. */
void rl_recorder_relieve(rl_recorder *recorder, rl_graphs *graphs, bool wait);

/* See rl_lost_query (lost.h). */
rl_status rl_recorder_query(rl_recorder *recorder, const rl_query *query, rl_rows *rows,
                            rl_err *err);

/* See rl_listing_read (listing.h). */
rl_status rl_recorder_list(rl_recorder *recorder, rl_listing *listing, rl_err *err);

/* See rl_counting_read (counting.h). */
rl_status rl_recorder_count(rl_recorder *recorder, rl_counting *counting, rl_err *err);

/* See rl_gauges_read (gauges.h). */
rl_status rl_recorder_read_gauges(rl_recorder *recorder, rl_gauges *gauges, rl_err *err);

/* Goes on with a deletion, until it has no more to do or until `end`. After a failure it
 * is over; the error says how much it has deleted. Between its batches the recorder may
 * be closed. */
rl_status rl_recorder_remove(rl_recorder *recorder, rl_deletion *deletion, uint64_t end,
                             rl_err *err);

/* For a companion's own calls: after RL_OK the recorder stays open until
 * rl_recorder_leave. The second one also opens the database if need be, and waits for
 * runs on their way to it, as rl_pipeline_prepare_query does. */
rl_status rl_recorder_enter(rl_recorder *recorder, rl_err *err);
rl_status rl_recorder_enter_to_query(rl_recorder *recorder, rl_err *err);
void rl_recorder_leave(rl_recorder *recorder);

/* Whether the database was opened. Does not wait. */
bool rl_recorder_is_ready(rl_recorder *recorder);

/* Writes the open runs of graphs. Then waits until the queued runs are committed, those
 * beside a locked file are in it, the journal is forwarded, and the companion has nothing
 * left to do. RL_TIMEOUT at `end`. */
rl_status rl_recorder_flush(rl_recorder *recorder, uint64_t end, rl_err *err);

/* Waits for the calls under way and writes the open runs of graphs. Then lets the runs
 * beside a locked file, the journal and the companion get on, and closes the database.
 * All of that ends at `end`, or earlier when a server proves to be unavailable. Later
 * calls return RL_CLOSED. The threads get up to 0.9 s after `end` to finish; several
 * recorders that are closed with the same `end` share these 0.9 s. */
void rl_recorder_close(rl_recorder *recorder, uint64_t end);

/* Takes the next message for the user's log; false when there is none. Does not wait. */
bool rl_recorder_take_notice(rl_recorder *recorder, rl_notice *notice);

/* The state of the server and the journal, and how many runs were rejected; false where
 * there is no server, and then only `elsewhere` and `rejected` are set. */
bool rl_recorder_get_journal_stats(rl_recorder *recorder, rl_journal_stats *stats);

/* What is known of the replica; nothing where there is none, or after the close. Does not
 * wait. */
void rl_recorder_get_replica_stats(rl_recorder *recorder, rl_replica_stats *stats);

/* From now on no missing SQLite file is created: a reader gets the error of an unreachable
 * store instead. Does not wait. */
void rl_recorder_open_existing(rl_recorder *recorder);

/* The number of runs that wait beside a locked SQLite file, of all processes. */
int64_t rl_recorder_beside(rl_recorder *recorder);

/* Borrowed: valid as long as the recorder. These do not wait. */
const rl_config *rl_recorder_config(const rl_recorder *recorder);
const char *rl_recorder_store_name(const rl_recorder *recorder);
rl_metrics *rl_recorder_metrics(rl_recorder *recorder);
size_t rl_recorder_queued(rl_recorder *recorder); /* runs that wait to be committed */

#endif
