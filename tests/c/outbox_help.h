/* What the tests of the outbox share: a store with a rule, claims, and their results. */
#ifndef RUNLOG_TESTS_OUTBOX_HELP_H
#define RUNLOG_TESTS_OUTBOX_HELP_H

#include "meaning/outbox/sqlite_outbox.h"
#include "store_help.h"

#define DIM 4

static const rl_embed_rule the_rule = {.path = NULL};
static const float the_vector[DIM] = {0.5f, -1.0f, 0.25f, 3.0f};

/* Opens a store on a file whose runs get rows in the outbox, and the outbox. */
static inline rl_store *open_embedding_store(const char *path, rl_outbox **outbox)
{
    static rl_sqlite_hook hook;
    rl_store *store = NULL;
    rl_err err = {.code = RL_OK};

    hook = rl_sqlite_outbox_hook(&the_rule);
    help_need(rl_sqlite_new(path, the_migrations(), &hook, NULL, &store, &err) == RL_OK &&
                  store->ops->prepare(store, &err) == RL_OK &&
                  rl_sqlite_outbox_new(rl_sqlite_file_of(store), outbox, &err) == RL_OK,
              err.text);
    return store;
}

static inline rl_run *new_text(const char *run_id, const char *outputs)
{
    rl_run *run = new_run("w", run_id, "completed");

    if (outputs != NULL) {
        set_text(run, RL_OUTPUTS, outputs);
    }
    help_need(rl_run_seal(run, NULL) == RL_OK, "sealing a run");
    return run;
}

/* Claims rows of a state at `now`, for ten microseconds. */
static inline rl_status claim_at(rl_outbox *outbox, rl_outbox_state state, size_t limit,
                                 int64_t now, rl_outbox_jobs *jobs, rl_err *err)
{
    const rl_outbox_claim claim = {state, limit, now, now + 10};

    return outbox->ops->claim(outbox, &claim, jobs, err);
}

static inline rl_outbox_result result_for(const rl_outbox_jobs *jobs, size_t at,
                                          rl_outbox_outcome outcome)
{
    const rl_outbox_job *job = rl_outbox_job_at(jobs, at);

    return (rl_outbox_result){.key = {job->id, rl_outbox_text(jobs, job->wpk_id)},
                              .version = job->version,
                              .lease = job->lease,
                              .outcome = outcome,
                              .error = "an error",
                              .model = "m",
                              .vector = the_vector,
                              .dim = DIM,
                              .text_hash = UINT64_C(0xFEDCBA9876543210),
                              .text_bytes = 20,
                              .used_bytes = 10};
}

#endif
