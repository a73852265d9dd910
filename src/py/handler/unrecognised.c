/* Runs without a graph. See unrecognised.h. */
#include "py/handler/unrecognised.h"

#include "core/alloc.h"
#include "py/handler/graph_runs.h"

#define OPEN 4096 /* such runs of a handler that are known at once */
#define NAME 64   /* bytes of a name; a longer one is left out */

/* An open run that has no parent. */
typedef struct root {
    rl_link link;
    rl_key key;
    size_t graphs; /* self->graphs_seen when it began */
    char name[NAME];
} root;

static root *find(const rl_handler *self, rl_key key)
{
    root *at = (root *)rl_table_first(&self->unrecognised, rl_key_hash(key));

    while (at != NULL && !rl_same_uuid(at->key, key)) {
        at = (root *)rl_table_next(&at->link);
    }
    return at;
}

/* Counts a run, in the recorder that would have had it. */
static void report(rl_state *state, const rl_handler *self, rl_raised *raised,
                   const char *name)
{
    PyObject *held = rl_graph_runs_recorder(state, self);
    rl_py_recorder *recorder = (rl_py_recorder *)held;

    if (held == NULL) {
        rl_raised_absorb(raised);
        return;
    }
    rl_metric_add(&recorder->handler_unrecognised, 1);
    if (self->graphs_seen == 0 && !recorder->unrecognised_logged) {
        const char *quote = name[0] != '\0' ? "\"" : "";

        recorder->unrecognised_logged = true;
        rl_notices_add(
            rl_recorder_memory(recorder->core).notices, RL_NOTICE_WARNING,
            "a handler has recorded nothing of %s%s%s, because no graph of "
            "LangGraph ran in it. Use roots=\"all\", make it a node of a graph, "
            "or call log_run (logged once; stats() counts such runs in "
            "handler_unrecognised)",
            quote, name[0] != '\0' ? name : "a model, tool or chain", quote);
        rl_py_recorder_log_notices(recorder, raised);
    }
    Py_DECREF(held);
}

void rl_unrecognised_start(rl_state *state, rl_handler *self, rl_raised *raised,
                           const rl_span_start *start)
{
    root *fresh;

    if (start->has_parent || find(self, start->key) != NULL) {
        return;
    }
    fresh = self->unrecognised.count < OPEN ? rl_calloc(1, sizeof *fresh) : NULL;
    if (fresh != NULL) {
        fresh->key = start->key;
        fresh->graphs = self->graphs_seen;
        if (start->name.len > 0 && start->name.len < NAME) {
            memcpy(fresh->name, start->name.data, start->name.len);
        }
        if (rl_table_add(&self->unrecognised, &fresh->link, rl_key_hash(start->key))) {
            return;
        }
        rl_free(fresh);
    }
    report(state, self, raised, ""); /* too many: not known when it ends */
}

void rl_unrecognised_end(rl_state *state, rl_handler *self, rl_raised *raised, rl_key key)
{
    root *ended = find(self, key);

    if (ended != NULL) {
        rl_table_remove(&self->unrecognised, &ended->link);
        if (ended->graphs == self->graphs_seen) {
            report(state, self, raised, ended->name);
        }
        rl_free(ended);
    }
}

void rl_unrecognised_clear(rl_handler *self)
{
    rl_link *link;
    size_t at = 0;

    while ((link = rl_table_any(&self->unrecognised, &at)) != NULL) {
        rl_table_remove(&self->unrecognised, link);
        rl_free(link);
    }
    rl_table_free(&self->unrecognised);
}
