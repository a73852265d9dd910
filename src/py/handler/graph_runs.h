/* The runs of graphs on their way to a recorder: which recorder, when, and the errors
 * counted and logged. No function here leaves an exception set, but for
 * rl_graph_runs_recorder: `raised` takes those of the program's.
 * Threads: with the GIL, which committing may give up.
 */
#ifndef RL_PY_GRAPH_RUNS_H
#define RL_PY_GRAPH_RUNS_H

#include "py/handler/handler_data.h"

/* The recorder for a new graph: the handler's, or the default one. New reference; NULL
 * with an error set. */
PyObject *rl_graph_runs_recorder(rl_state *state, const rl_handler *self);

/* Count an event that could not be recorded, and one that belongs to no recorded graph,
 * in the recorder that the handler used last. */
void rl_graph_runs_count_error(const rl_handler *self);
void rl_graph_runs_count_ignored(const rl_handler *self);

/* There is no recorder for a graph, for the exception that is set, which is absorbed:
 * counted each time, logged once until there is a recorder again. */
void rl_graph_runs_report(rl_state *state, rl_handler *self, rl_raised *raised);

/* Writes the end of a graph that was taken out of the table, and frees it. The graph's
 * reference to its recorder is given up. */
void rl_graph_runs_finish(rl_state *state, const rl_handler *self, rl_raised *raised,
                          rl_graph *graph, const rl_span_end *end);

/* Takes memory back from open graphs of the recorder if they take too much. May give up
 * the GIL. */
void rl_graph_runs_relieve(const rl_handler *self, rl_raised *raised,
                           rl_py_recorder *recorder);

/* Writes what is new of a graph that is still open. */
void rl_graph_runs_write(rl_state *state, const rl_handler *self, rl_raised *raised,
                         const rl_found *found);

/* A graph that was open at a fork ends in the parent: the child drops it. */
void rl_graph_runs_after_fork(rl_handler *self);

#endif
