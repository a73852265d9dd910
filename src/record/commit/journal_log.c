/* Whether the server accepts runs, and what the user's log says about it and the journal.
 * See journal_state.h. */
#include "record/commit/journal_state.h"

void rl_journal_set_unavailable(rl_journal *journal, const rl_err *err)
{
    uint64_t now = rl_monotonic_ns();
    bool changed;

    pthread_mutex_lock(&journal->lock);
    changed = rl_breaker_record_failure(&journal->breaker, now);
    journal->error = *err;
    journal->attempts++;
    if (changed) {
        atomic_store(&journal->wake_worker, true);
        journal->unavailable_since = now;
        journal->forwarded_before = rl_metric_get(&journal->metrics->forwarded);
    }
    pthread_cond_broadcast(&journal->progressed);
    pthread_mutex_unlock(&journal->lock);
    if (changed) {
        rl_notices_add(
            journal->notices, RL_NOTICE_WARNING,
            "runs are stored in the journal %s until PostgreSQL accepts them: %s",
            rl_journal_file_path(journal->file), err->text);
    }
}

void rl_journal_set_partly_available(rl_journal *journal, const rl_err *err,
                                     uint64_t pause_ns)
{
    rl_journal_set_unavailable(journal, err);
    pthread_mutex_lock(&journal->lock);
    journal->breaker.pause_ns = 0;
    atomic_store(&journal->breaker.retry_at, rl_monotonic_ns() + pause_ns);
    pthread_mutex_unlock(&journal->lock);
}

void rl_journal_set_available(rl_journal *journal)
{
    uint64_t seconds, forwarded;
    bool changed;

    if (!rl_breaker_is_open(&journal->breaker)) {
        return;
    }
    pthread_mutex_lock(&journal->lock);
    changed = rl_breaker_record_success(&journal->breaker);
    seconds = (rl_monotonic_ns() - journal->unavailable_since) / 1000000000;
    forwarded = rl_metric_get(&journal->metrics->forwarded) - journal->forwarded_before;
    pthread_mutex_unlock(&journal->lock);
    if (changed) {
        rl_notices_add(
            journal->notices, RL_NOTICE_WARNING,
            "PostgreSQL accepts runs again, after %llu s; forwarded from the journal "
            "so far: %llu",
            (unsigned long long)seconds, (unsigned long long)forwarded);
    }
}

void rl_journal_log_others(rl_journal *journal)
{
    rl_waiting waiting = {0};
    rl_err ignored;
    bool one;

    if (!atomic_exchange(&journal->others_logged, true)) {
        (void)rl_journal_file_count(journal->file, &waiting, &ignored);
        one = waiting.others == 1;
        rl_notices_add(
            journal->notices, RL_NOTICE_WARNING,
            "%lld run%s in the journal %s wait%s for another database than that of "
            "POSTGRES_DSN: %s; a program that uses that database forwards %s "
            "(docs/operations.md, \"Sharing a journal\")",
            (long long)waiting.others, one ? "" : "s",
            rl_journal_file_path(journal->file), one ? "s" : "", waiting.places,
            one ? "it" : "them");
    }
}

void rl_journal_log_rejected(rl_journal *journal, const rl_err *reason)
{
    if (!atomic_exchange(&journal->rejection_logged, true)) {
        rl_notices_add(journal->notices, RL_NOTICE_ERROR,
                       "PostgreSQL rejected a run, which is stored in the table "
                       "journal_rejected of %s (logged once, stats() counts them): %s",
                       rl_journal_file_path(journal->file), reason->text);
    }
}

void rl_journal_log_slow(rl_journal *journal, const rl_err *reason)
{
    rl_notices_add(journal->notices, RL_NOTICE_WARNING, "a run takes too long: %s",
                   reason->text);
}

void rl_journal_log_unusable(rl_journal *journal, const rl_err *err)
{
    if (!atomic_exchange(&journal->unusable_logged, true)) {
        rl_notices_add(
            journal->notices, RL_NOTICE_ERROR,
            "the journal can't be used, so no run can be stored while PostgreSQL is "
            "unavailable: %s",
            err->text);
    }
}

void rl_journal_log_usable(rl_journal *journal)
{
    if (atomic_load_explicit(&journal->unusable_logged, memory_order_relaxed) &&
        atomic_exchange(&journal->unusable_logged, false)) {
        rl_notices_add(journal->notices, RL_NOTICE_WARNING,
                       "the journal %s can be used again",
                       rl_journal_file_path(journal->file));
    }
}
