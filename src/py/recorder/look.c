/* Looking at a database without a recorder. See look.h. */
#include "py/recorder/look.h"

#include "py/base/errors.h"
#include "store/postgres/pg_look.h"

#define TEXT_MAX 65536 /* bytes; of what is said of a database */

/* What was said, as a str, or the error as an exception. Frees the buffer. */
static PyObject *answer(PyObject *module, rl_status status, rl_buf *said,
                        const rl_err *err)
{
    PyObject *text =
        status == RL_OK
            ? PyUnicode_DecodeUTF8(said->data, (Py_ssize_t)said->len, "replace")
            : rl_errors_raise(PyModule_GetState(module), err);

    rl_buf_free(said);
    return text;
}

PyObject *rl_look_describe_dsn(PyObject *module, PyObject *dsn)
{
    const char *text = PyUnicode_AsUTF8(dsn);
    rl_status status;
    rl_buf said;
    rl_err err;

    if (text == NULL) {
        return NULL;
    }
    rl_buf_init(&said, TEXT_MAX);
    status = rl_pg_look_place(text, &said, &err);
    return answer(module, status, &said, &err);
}

PyObject *rl_look_at_postgres(PyObject *module, PyObject *args)
{
    const char *dsn;
    double seconds;
    rl_status status;
    rl_buf said;
    rl_err err;

    if (!PyArg_ParseTuple(args, "sd", &dsn, &seconds)) {
        return NULL;
    }
    rl_buf_init(&said, TEXT_MAX);
    Py_BEGIN_ALLOW_THREADS
    status = rl_pg_look(dsn, (uint64_t)(seconds * 1e9), &said, &err);
    Py_END_ALLOW_THREADS
    return answer(module, status, &said, &err);
}
