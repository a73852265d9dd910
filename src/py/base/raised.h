/* Exceptions that come up while a value is read or converted: which are the value's own,
 * and are absorbed, and which belong to the program, and must reach it.
 *
 * The program's are: what is no Exception (KeyboardInterrupt, SystemExit, CancelledError,
 * the timeouts of gevent), and an Exception that a handler of signal.signal has raised:
 * its traceback leads through that handler. Either may be wrapped: pydantic raises a
 * PydanticSerializationError from whatever a serializer raises. Then the wrapped exception
 * counts. What an `except` around the call is handling does not count.
 * Threads: with the GIL.
 */
#ifndef RL_PY_RAISED_H
#define RL_PY_RAISED_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>

/* What one call owes to the program. At first all zeros; it lies on the stack of the call,
 * and rl_raised_finish ends it. */
typedef struct rl_raised {
    PyObject *error; /* owned: the first exception that belongs to the program, or NULL */
} rl_raised;

/* Clears the exception that is set, if any; one of the program's is kept in `self`. */
void rl_raised_absorb(rl_raised *self);

/* Whether an exception is kept: then no more code of the values should run. */
static inline bool rl_raised_any(const rl_raised *self)
{
    return self->error != NULL;
}

/* The result of the call (stolen; NULL with an error set). If an exception is kept, that
 * one is raised instead, and the result is NULL. */
PyObject *rl_raised_finish(rl_raised *self, PyObject *result);

/* For an argument that can't be read: clears the exception that is set and returns true,
 * if it is the argument's own. Else false, and the program's exception is set. */
bool rl_raised_is_own(void);

/* Likewise for what json.loads raises of a text that is not JSON, or is nested so deep that
 * Python can't read it. */
bool rl_raised_is_no_json(void);

/* Whether an exception was raised by a handler of signal.signal. */
bool rl_raised_by_signal(PyObject *error);

#endif
