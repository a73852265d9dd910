/* The recorder: the front door of the core. Owns the store, the journal before a server, the
 * commit queues and the worker thread; opens the database at first use, and closes it when
 * nobody is inside any more.
 *
 * Threads: every function from any thread. All may wait, but for rl_recorder_try_write; so
 * no other is called with the GIL held. A forked child goes on with the same recorder.
 */
#ifndef RL_RECORDER_H
#define RL_RECORDER_H

#include "core/err.h"
#include "core/metrics.h"
#include "core/notice.h"
#include "core/redact.h"
#include "core/run.h"
#include "record/graph.h"
#include "record/journal.h"
#include "record/meaning.h"
#include "store/store.h"

/* Migrations, owned as are their texts. */
typedef struct rl_migration_set {
    rl_migration *list;
    size_t count;
} rl_migration_set;

/* The options of a recorder. Every text is owned (rl_malloc), or NULL. */
typedef struct rl_config {
    char *postgres_dsn;
    char *sqlite_path;
    rl_redact redact;
    size_t max_payload;       /* bytes of JSON after which a payload is cut */
    rl_durability log_runs;   /* of log_run */
    rl_durability graph_runs; /* of the LangGraph handler */
    uint64_t timeout_ns;      /* how long PostgreSQL may take to answer */
    unsigned pool;            /* connections to PostgreSQL for reads */
    rl_migration_set sqlite, postgres, pgvector; /* the last two only with a DSN */
    rl_meaning_config meaning;
} rl_config;

void rl_config_free(rl_config *config); /* frees what it owns, not the struct */

typedef struct rl_recorder rl_recorder;

/* Makes a recorder; nothing is opened yet. Takes over (steals) what config owns, also when
 * it fails, and leaves it empty. */
rl_status rl_recorder_new(rl_config *config, rl_recorder **recorder, rl_err *err);

/* How long a close that nobody has bounded lets forwarding go on. */
#define RL_CLOSE_NS UINT64_C(4000000000)

/* Closes it if need be (with RL_CLOSE_NS) and frees it. No other call may be under way. */
void rl_recorder_free(rl_recorder *recorder);

/* Commits a sealed run and returns when it is kept. */
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

/* Writes the open runs of graphs as they stand, then waits until what was handed over is
 * committed, what is in the journal was forwarded, and what can be embedded is indexed,
 * or until the monotonic clock shows `end` nanoseconds: RL_TIMEOUT. */
rl_status rl_recorder_flush(rl_recorder *recorder, uint64_t end, rl_err *err);

/* See search.h. */
rl_status rl_recorder_search(rl_recorder *recorder, const rl_search *search, uint64_t end,
                             rl_rows *rows, rl_buf *scores, rl_err *err);
rl_status rl_recorder_embed(rl_recorder *recorder, const char *text, size_t len,
                            uint64_t end, rl_embeddings *vector, rl_err *err);
rl_status rl_recorder_upsert(rl_recorder *recorder, const rl_milvus_row *row,
                             uint32_t dim, uint64_t end, rl_err *err);

/* Lets the calls under way end, writes the open runs of graphs, gives forwarding and
 * embedding until `end` (less where the server is away), then closes the database. Later calls give RL_CLOSED. The
 * worker thread gets up to 0.9 s behind `end` to end; several recorders that are given one
 * end share that, too. */
void rl_recorder_close(rl_recorder *recorder, uint64_t end);

/* The next thing that the user should be told; false when there is none. Never waits. */
bool rl_recorder_take_notice(rl_recorder *recorder, rl_notice *notice);

/* How the server and the journal are; false where there is no server. May wait. */
bool rl_recorder_look(rl_recorder *recorder, rl_journal_stats *stats);

/* How the outbox of embeddings is. May wait. */
void rl_recorder_look_at_outbox(rl_recorder *recorder, rl_meaning_stats *stats);

/* Valid as long as the recorder is. */
const rl_config *rl_recorder_config(const rl_recorder *recorder);
const char *rl_recorder_store_name(const rl_recorder *recorder);
rl_metrics *rl_recorder_metrics(rl_recorder *recorder);
size_t rl_recorder_queued(rl_recorder *recorder);

#endif
