/* Imports at the first use of a module: see runlog/_imports.py. What is imported another
 * way, while a second thread forks, may never be had in the child.
 * Threads: with the GIL, which the import may release.
 */
#ifndef RL_PY_IMPORTS_H
#define RL_PY_IMPORTS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* The module of this name; a new reference, or NULL with an error set. */
PyObject *rl_import(const char *name);

#endif
