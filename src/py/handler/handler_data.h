/* Inside the handler: the struct behind an instance of RunLogHandler, which the files of
 * the handler share. Nobody else includes it.
 */
#ifndef RL_PY_HANDLER_DATA_H
#define RL_PY_HANDLER_DATA_H

#include "core/table.h"
#include "py/base/state.h"
#include "py/encode/error_text.h"
#include "py/encode/text_cache.h"
#include "py/recorder/recorder.h"
#include "record/graph/graph.h"

typedef struct rl_handler {
    PyObject *identity; /* owned: the same in all copies, which act as one handler; a
                           dict, see same_id.h. handler.c names this, the next three and
                           those of nodes.c, streams.c and left.c */
    PyObject *wpk_id;   /* owned, or NULL */
    PyObject *recorder; /* owned, or NULL: the default one */
    PyObject *last;     /* owned, or NULL: the recorder of the last graph, which counts */
    rl_graphs *graphs;  /* the process's own */
    unsigned generation; /* rl_fork_generation of the process that used it last */
    rl_node_inputs node_inputs;
    rl_calls calls;
    bool all_roots;       /* roots that are no graphs are recorded, too */
    uint64_t interval_ns; /* how often open runs are written, or RL_LIVE_NEVER */
    rl_buf scratch;    /* lent to one event at a time, so that none has to grow its own */
    rl_buf members;    /* lent in the same way */
    PyObject *nodes;   /* see nodes.c; owned, or NULL */
    PyObject *streams; /* see streams.c; owned, or NULL, as are the next two */
    PyObject *streaming;   /* the run_id of the last token */
    PyObject *chunks;      /* of that call: a list that is in `streams` */
    PyObject *watched;     /* see left.c: weak references by run_id; owned, or NULL */
    bool has_token;        /* it has begun to answer */
    rl_text_cache cache;   /* of the states of open graphs */
    rl_error_texts errors; /* of the exceptions that end nodes and graphs */
    size_t open;           /* graphs begun here */
    size_t graphs_seen;    /* recorded here, or by another handler */
    rl_place place;        /* where the last graph was recorded */
    rl_table unrecognised; /* see unrecognised.c; owned */
    bool raise_error;      /* the program has set the attribute of that name */
} rl_handler;

/* The struct behind an instance, and the instance that it is in; borrowed. */
static inline rl_handler *rl_handler_data(const rl_state *state, PyObject *object)
{
    return (rl_handler *)(void *)((char *)object + state->handler.offset);
}

static inline PyObject *rl_handler_object(const rl_state *state, rl_handler *data)
{
    return (PyObject *)(void *)((char *)data - state->handler.offset);
}

#endif
