/* The methods of Recorder that have to do with embeddings; see _runlog.pyi.
 * Threads: with the GIL, which the functions give up while they wait.
 */
#ifndef RL_PY_MEANING_H
#define RL_PY_MEANING_H

#include "py/state.h"
#include "record/meaning.h"

PyObject *rl_meaning_search_runs(rl_state *state, rl_meaning *meaning, PyObject *args,
                                 PyObject *kwargs);
PyObject *rl_meaning_find_similar(rl_state *state, rl_meaning *meaning, PyObject *args,
                                  PyObject *kwargs);
PyObject *rl_meaning_generate_embedding(rl_state *state, rl_meaning *meaning,
                                        PyObject *args, PyObject *kwargs);
PyObject *rl_meaning_upsert_to_milvus(rl_state *state, rl_meaning *meaning,
                                      PyObject *args, PyObject *kwargs);

#endif
