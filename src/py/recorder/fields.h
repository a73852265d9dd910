/* Reads the mapping that log_run is given into a run of the core's. Threads: with the
 * GIL. */
#ifndef RL_PY_FIELDS_H
#define RL_PY_FIELDS_H

#include "py/encode/encode.h"

/* Validates and encodes `mapping` into `run`, which is reset, and seals it; *wpk_id and
 * *run_id get new references. 0, or -1 with TypeError (no mapping), ValidationError or
 * MemoryError set; then the run must not be written. */
int rl_fields_read(const rl_encode_options *options, PyObject *mapping, rl_run *run,
                   PyObject **wpk_id, PyObject **run_id);

#endif
