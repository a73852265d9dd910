/* What a graph was called with, besides its inputs and metadata.
 *
 * LangChain's callbacks have neither the config nor the runtime context, so both are read
 * from LangGraph's own frame, which is below the event on the stack. Where another version
 * of LangGraph has no such frame, they are not recorded.
 * Threads: with the GIL, which the user's code may give up.
 */
#ifndef RL_PY_RUN_CONFIG_H
#define RL_PY_RUN_CONFIG_H

#include "py/encode/encode_options.h"

/* New references; NULL where there is nothing to record. */
typedef struct rl_run_config {
    PyObject *configurable; /* a dict */
    PyObject *context;
} rl_run_config;

/* Reads them for the graph that starts now. They are copies of what is plain: scalars,
 * texts of up to 4 KiB, and dicts, lists and objects of fields made of these. "<module.T>"
 * stands for any other object, so no client or connection is walked. Of configurable,
 * LangGraph's own keys are left out. No exception is left set; options->raised takes
 * those of the program's. */
rl_run_config rl_run_config_read(const rl_encode_options *options);

#endif
