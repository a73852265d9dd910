/* What changes between the server and the journal, and is told. See journal_state.h. */
#include "record/commit/journal_state.h"

/* The server did not take something. */
void rl_journal_set_unavailable(rl_journal *journal, const rl_err *err)
{
    uint64_t now = rl_monotonic_ns();
    bool news;

    pthread_mutex_lock(&journal->lock);
    news = rl_breaker_record_failure(&journal->breaker, now);
    journal->error = *err;
    journal->attempts++;
    if (news) {
        atomic_store(&journal->wake, true);
        journal->away_since = now;
        journal->forwarded_then = rl_metric_get(&journal->metrics->forwarded);
    }
    pthread_cond_broadcast(&journal->moved);
    pthread_mutex_unlock(&journal->lock);
    if (news) {
        rl_notices_add(journal->notices, RL_NOTICE_WARNING,
                       "runs are kept in the journal %s until PostgreSQL takes them: %s",
                       rl_journal_file_path(journal->file), err->text);
    }
}

/* The server took something. */
void rl_journal_set_available(rl_journal *journal)
{
    uint64_t seconds, forwarded;
    bool news;

    if (!rl_breaker_is_open(&journal->breaker)) {
        return;
    }
    pthread_mutex_lock(&journal->lock);
    news = rl_breaker_record_success(&journal->breaker);
    seconds = (rl_monotonic_ns() - journal->away_since) / 1000000000;
    forwarded = rl_metric_get(&journal->metrics->forwarded) - journal->forwarded_then;
    pthread_mutex_unlock(&journal->lock);
    if (news) {
        rl_notices_add(
            journal->notices, RL_NOTICE_WARNING,
            "PostgreSQL takes runs again, after %llu s; %llu were forwarded from "
            "the journal so far",
            (unsigned long long)seconds, (unsigned long long)forwarded);
    }
}

void rl_journal_log_rejected(rl_journal *journal, const rl_err *reason)
{
    if (!atomic_exchange(&journal->rejecting, true)) {
        rl_notices_add(journal->notices, RL_NOTICE_ERROR,
                       "PostgreSQL refused a run for good; it is kept in the table "
                       "journal_rejected of %s (told once, stats() counts them): %s",
                       rl_journal_file_path(journal->file), reason->text);
    }
}

void rl_journal_log_unusable(rl_journal *journal, const rl_err *err)
{
    if (!atomic_exchange(&journal->unusable, true)) {
        rl_notices_add(
            journal->notices, RL_NOTICE_ERROR,
            "the journal can't be used, so nothing is kept while PostgreSQL is "
            "away: %s",
            err->text);
    }
}

void rl_journal_log_usable(rl_journal *journal)
{
    if (atomic_load_explicit(&journal->unusable, memory_order_relaxed) &&
        atomic_exchange(&journal->unusable, false)) {
        rl_notices_add(journal->notices, RL_NOTICE_WARNING,
                       "the journal %s can be used again",
                       rl_journal_file_path(journal->file));
    }
}
