/* Forwarding a batch run by run, where the server does not take it as a whole: it refuses
 * a run, takes too long for one, or one of several servers is away.
 *
 * Threads: the worker alone.
 */
#ifndef RL_FORWARD_SINGLY_H
#define RL_FORWARD_SINGLY_H

#include "record/commit/journal_state.h"

/* The state of one call of rl_journal_forward. All zero: nothing is held or doubted. */
typedef struct rl_forwarding {
    const atomic_bool *stop;
    uint64_t end;                     /* of its time; nanoseconds, monotonic clock */
    char self[RL_JOURNAL_FILE_OWNER]; /* the holder of the lease */
    /* one is with the server, the other was before it or comes after it */
    rl_journal_file_batch batches[2];
    rl_journal_file_batch newest; /* of the journal; where a batch was refused whole */
    rl_journal_file_batch *delivered; /* not deleted yet; or NULL */
    bool has_lease;
    bool cut;              /* the batch took too long, and has fewer runs now */
    bool holds;            /* runs stay in the journal, while others are forwarded */
    rl_err held;           /* why */
    const rl_err *doubted; /* the first doubtful refusal, owned by its batch; or NULL */
    bool leased_elsewhere; /* another process or journal has it, or the file's lock */
    bool server_failed;    /* the cause of an error; else the journal's file */
} rl_forwarding;

/* Whether a refusal is either of one run or of all: a missing table or right has the same
 * SQLSTATE as a policy for rows, and a trigger may give any. */
bool rl_is_doubtful(const rl_err *reason);

/* Whether the server answers at all. */
bool rl_forward_answers(rl_journal *journal);

/* Leaves a run in the journal that took too long, though the server answers; it is tried
 * again later, and after that less and less often. Fails if the last runs all took too
 * long: then it is not for one of them. */
rl_status rl_forward_hold(rl_journal *journal, rl_forwarding *work,
                          rl_journal_file_batch *batch, size_t at, const rl_err *reason,
                          rl_err *err);

/* Whether the batch has a run that took too long before. */
bool rl_forward_is_slow(rl_journal *journal, const rl_journal_file_batch *batch);

/* Writes each run of a batch alone, and marks in the batch those that are rejected or
 * held. Once its time is over, this leaves the others in the journal, too. Fails if the
 * server takes none, or if that is not known of a doubtful refusal. */
rl_status rl_forward_singly(rl_journal *journal, rl_forwarding *work,
                            rl_journal_file_batch *batch, rl_err *err);

#endif
