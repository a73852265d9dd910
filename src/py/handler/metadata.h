/* The metadata of a graph's run. Threads: with the GIL, which the user's code may give up.
 */
#ifndef RL_PY_METADATA_H
#define RL_PY_METADATA_H

#include "py/encode/encode_options.h"
#include "py/handler/handler_data.h"

/* The metadata and tags of a graph's start, as a new dict, with the values of its config
 * and its runtime context (see run_config.h) as "configurable" and "context"; NULL without
 * an error when there are none. Left out is what LangGraph adds for itself, and what has a
 * column: the thread's id, and wpk_id unless `named` (the handler names the workflow). Of a
 * run that `is_call`, what LangChain adds is left out, too. A
 * key under which runlog itself stores something is renamed to user_<key>. */
PyObject *rl_metadata_of(const rl_encode_options *options, PyObject *kwargs, bool named,
                         bool is_call);

/* Adds "tags" and "metadata" of a call's start to a dict: the user's that the call does not
 * have from its node. 0, or -1 with an error set. */
int rl_metadata_of_call(const rl_encode_options *options, const rl_handler *self,
                        PyObject *kwargs, PyObject *to);

#endif
