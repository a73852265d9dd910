/* stats(). See stats.h. */
#include "py/recorder/stats.h"

/* Microseconds since 1970 as seconds; None for 0. New reference. */
static PyObject *time_or_none(int64_t stamp)
{
    return stamp > 0 ? PyFloat_FromDouble((double)stamp / 1e6) : Py_NewRef(Py_None);
}

static double seconds(atomic_uint_fast64_t *nanoseconds)
{
    return (double)rl_metric_get(nanoseconds) / 1e9;
}

/* Adds the counts of the journal and the server; 0 and None where there is neither. */
static int add_journal_stats(rl_py_recorder *self, PyObject *stats)
{
    rl_metrics *metrics = rl_recorder_metrics(self->core);
    rl_journal_stats journal;
    int64_t beside;
    PyObject *more;
    bool known;
    int rc = -1;

    Py_BEGIN_ALLOW_THREADS
    known = rl_recorder_get_journal_stats(self->core, &journal);
    beside = rl_recorder_beside(self->core);
    Py_END_ALLOW_THREADS
    more = Py_BuildValue(
        "{s:K, s:K, s:L, s:N, s:L, s:L, s:L, s:L, s:z, s:z}", "journaled",
        (unsigned long long)rl_metric_get(&metrics->journaled), "forwarded",
        (unsigned long long)rl_metric_get(&metrics->forwarded), "waiting",
        (long long)journal.waiting, "waiting_since", time_or_none(journal.oldest),
        "journal_left", (long long)journal.left, "waiting_elsewhere",
        (long long)journal.elsewhere, "beside", (long long)beside, "rejected",
        (long long)journal.rejected, "server",
        !known ? NULL : (journal.unavailable ? "away" : "up"), "server_error",
        journal.error[0] != '\0' ? journal.error : NULL);
    if (more != NULL) {
        rc = PyDict_Update(stats, more);
        Py_DECREF(more);
    }
    return rc;
}

/* Adds what is known of the replica; None and 0 where there is none. */
static int add_replica_stats(rl_py_recorder *self, PyObject *stats)
{
    rl_replica_stats replica;
    PyObject *more;
    int rc = -1;

    Py_BEGIN_ALLOW_THREADS
    rl_recorder_get_replica_stats(self->core, &replica);
    Py_END_ALLOW_THREADS
    more = Py_BuildValue(
        "{s:z, s:z, s:N, s:K, s:K}", "replica",
        !replica.there ? NULL : (replica.away ? "away" : "up"), "replica_error",
        replica.error[0] != '\0' ? replica.error : NULL, "replica_lag",
        replica.there && replica.lag >= 0 ? PyFloat_FromDouble(replica.lag)
                                          : Py_NewRef(Py_None),
        "replica_reads", (unsigned long long)replica.reads, "replica_fallbacks",
        (unsigned long long)replica.fallbacks);
    if (more != NULL) {
        rc = PyDict_Update(stats, more);
        Py_DECREF(more);
    }
    return rc;
}

PyObject *rl_stats_get(rl_state *state, rl_py_recorder *self)
{
    rl_metrics *metrics = rl_recorder_metrics(self->core);
    PyObject *stats = Py_BuildValue(
        "{s:s, s:N, s:K, s:K, s:d, s:d, s:K, s:K, s:n, s:K, s:K, s:K, s:K, s:K, s:K}",
        "store", rl_recorder_store_name(self->core), "path",
        PyUnicode_DecodeFSDefault(rl_recorder_config(self->core)->sqlite_path), "runs",
        (unsigned long long)rl_metric_get(&metrics->runs), "commits",
        (unsigned long long)rl_metric_get(&metrics->commits), "commit_seconds",
        seconds(&metrics->commit_ns), "encode_seconds", seconds(&metrics->encode_ns),
        "failed", (unsigned long long)rl_metric_get(&metrics->failed), "largest_commit",
        (unsigned long long)rl_metric_get(&metrics->largest_commit), "queued",
        (Py_ssize_t)rl_recorder_queued(self->core), "handler_errors",
        (unsigned long long)rl_metric_get(&self->handler_errors), "handler_ignored",
        (unsigned long long)rl_metric_get(&self->handler_ignored), "handler_unrecognised",
        (unsigned long long)rl_metric_get(&self->handler_unrecognised), "handler_spilled",
        (unsigned long long)rl_metric_get(&metrics->handler_spilled), "handler_dropped",
        (unsigned long long)rl_metric_get(&metrics->handler_dropped), "open_runs",
        (unsigned long long)rl_metric_get(&self->open_runs));

    if (stats != NULL &&
        (add_journal_stats(self, stats) < 0 || add_replica_stats(self, stats) < 0)) {
        Py_CLEAR(stats);
    }
    for (int i = 0; i < RL_WINGS && stats != NULL; i++) {
        if (state->wings[i]->add_stats(self->companions[i], stats) < 0) {
            Py_CLEAR(stats);
        }
    }
    return stats;
}
