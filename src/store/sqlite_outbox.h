/* The outbox of embeddings in a SQLite file: SQLite's answers to rl_outbox_ops.
 *
 * Threads: any, as rl_sqlite_file's. Ownership: borrows the file.
 */
#ifndef RL_SQLITE_OUTBOX_H
#define RL_SQLITE_OUTBOX_H

#include "store/outbox.h"
#include "store/sqlite_file.h"
#include "store/store.h"

/* In the transaction that has just written the run: what that means for its row. is_new: the
 * run was not there before, and has the id that `run` says. */
rl_status rl_sqlite_outbox_note(rl_sqlite_conn *conn, const rl_embed_rule *rule,
                                const rl_run *run, bool is_new, rl_err *err);

/* See store.h. */
rl_status rl_sqlite_outbox_claim(rl_sqlite_file *file, const rl_box_claim *claim,
                                 rl_box_jobs *jobs, rl_err *err);
rl_status rl_sqlite_outbox_settle(rl_sqlite_file *file, const rl_box_result *results,
                                  size_t count, rl_err *err);
rl_status rl_sqlite_outbox_look(rl_sqlite_file *file, bool embedded,
                                rl_box_counts *counts, rl_err *err);
rl_status rl_sqlite_outbox_nearest(rl_sqlite_file *file, const rl_near_query *query,
                                   rl_vector_sink sink, void *ctx, rl_err *err);
rl_status rl_sqlite_outbox_vector(rl_sqlite_file *file, const char *id, const char *model,
                                  rl_vector_sink sink, void *ctx, rl_err *err);

#endif
