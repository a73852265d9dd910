/* Inside the handler: the struct behind an instance of RunLogHandler, which the files of
 * the handler share. Nobody else includes it.
 */
#ifndef RL_PY_HANDLER_DATA_H
#define RL_PY_HANDLER_DATA_H

#include "py/base/state.h"
#include "py/encode/text_cache.h"
#include "py/recorder/recorder.h"
#include "record/graph/graph.h"

typedef struct rl_handler {
    PyObject *wpk_id;   /* owned, or NULL */
    PyObject *recorder; /* owned, or NULL: the default one */
    PyObject *last;     /* owned, or NULL: the recorder of the last graph, which counts */
    rl_graphs *graphs;  /* the process's own */
    rl_node_inputs node_inputs;
    uint64_t interval_ns; /* how often open runs are written, or RL_LIVE_NEVER */
    rl_buf scratch; /* lent to one event at a time, so that none has to grow its own */
    rl_buf members; /* lent in the same way */
    rl_text_cache cache; /* of the states of open graphs */
    size_t open;         /* graphs begun here */
} rl_handler;

#endif
