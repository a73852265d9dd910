/* stats(). See stats.h. */
#include "py/recorder/stats.h"

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
        "{s:K, s:K, s:L, s:L, s:L, s:L, s:z, s:z}", "journaled",
        (unsigned long long)rl_metric_get(&metrics->journaled), "forwarded",
        (unsigned long long)rl_metric_get(&metrics->forwarded), "waiting",
        (long long)journal.waiting, "waiting_elsewhere", (long long)journal.elsewhere,
        "beside", (long long)beside, "rejected", (long long)journal.rejected, "server",
        !known ? NULL : (journal.unavailable ? "away" : "up"), "server_error",
        journal.error[0] != '\0' ? journal.error : NULL);
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
        "{s:s, s:K, s:K, s:K, s:K, s:n, s:K, s:K, s:K, s:K, s:K, s:K}", "store",
        rl_recorder_store_name(self->core), "runs",
        (unsigned long long)rl_metric_get(&metrics->runs), "commits",
        (unsigned long long)rl_metric_get(&metrics->commits), "failed",
        (unsigned long long)rl_metric_get(&metrics->failed), "largest_commit",
        (unsigned long long)rl_metric_get(&metrics->largest_commit), "queued",
        (Py_ssize_t)rl_recorder_queued(self->core), "handler_errors",
        (unsigned long long)rl_metric_get(&self->handler_errors), "handler_ignored",
        (unsigned long long)rl_metric_get(&self->handler_ignored), "handler_unrecognised",
        (unsigned long long)rl_metric_get(&self->handler_unrecognised), "handler_spilled",
        (unsigned long long)rl_metric_get(&metrics->handler_spilled), "handler_dropped",
        (unsigned long long)rl_metric_get(&metrics->handler_dropped), "open_runs",
        (unsigned long long)rl_metric_get(&self->open_runs));

    if (stats != NULL && add_journal_stats(self, stats) < 0) {
        Py_CLEAR(stats);
    }
    for (int i = 0; i < RL_WINGS && stats != NULL; i++) {
        if (state->wings[i]->add_stats(self->companions[i], stats) < 0) {
            Py_CLEAR(stats);
        }
    }
    return stats;
}
