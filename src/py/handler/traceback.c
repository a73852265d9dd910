/* The traceback of an exception. See traceback.h; runlog/_traceback.py writes the text. */
#include "py/handler/traceback.h"

#include "core/source.h"
#include "py/base/imports.h"
#include "py/encode/encode.h"
#include "py/handler/caller.h"
#include "py/handler/graph_runs.h"

/* The key of an exception with one more frame; 0 is no key. */
static uint64_t add_key(uint64_t key, uint64_t part)
{
    uint64_t mixed = (key ^ part) * UINT64_C(0x9E3779B97F4A7C15);

    mixed ^= mixed >> 32;
    return mixed != 0 ? mixed : 1;
}

/* Whether LangGraph may drop such a frame when it hands an exception on: its runner drops
 * the outermost ones of the machinery that calls a node. */
static bool may_go(const PyTracebackObject *at)
{
    return rl_caller_is_in(at->tb_frame, "langgraph") ||
           rl_caller_is_in(at->tb_frame, "langchain_core.runnables") ||
           rl_caller_is_in(at->tb_frame, "concurrent.futures");
}

/* Reads by what the exception is known, from its innermost frame outwards. Returns the key
 * that it has as long as it lives: up to the outermost frame that LangGraph keeps, at least
 * the innermost. No code of the user's runs, so the frames can be borrowed. */
static uint64_t read_keys(PyObject *error, rl_error_keys *keys)
{
    PyObject *stack = PyException_GetTraceback(error);
    const PyTracebackObject *at = (const PyTracebackObject *)stack;
    const PyTracebackObject *last[RL_ERROR_FRAMES];
    uint64_t key = add_key(0, (uint64_t)(uintptr_t)error), lasting = key;
    size_t depth = 0;

    for (; at != NULL; at = at->tb_next) {
        last[depth++ % RL_ERROR_FRAMES] = at;
    }
    keys->list[0] = key;
    for (keys->count = 1; keys->count <= RL_ERROR_FRAMES && keys->count <= depth;
         keys->count++) {
        PyCodeObject *code;

        at = last[(depth - keys->count) % RL_ERROR_FRAMES];
        code = PyFrame_GetCode(at->tb_frame);
        key = add_key(key, (uint64_t)(uintptr_t)code);
        key = add_key(key, (uint64_t)(unsigned)at->tb_lasti);
        keys->list[keys->count] = key;
        lasting = keys->count > 1 && may_go(at) ? lasting : key;
        Py_DECREF(code);
    }
    Py_XDECREF(stack);
    return lasting;
}

/* shorten(value, room) of runlog/_traceback.py. The capsule's context is the options, for
 * as long as they live. */
static PyObject *shorten(PyObject *capsule, PyObject *const *args, Py_ssize_t count)
{
    const rl_encode_options *options = PyCapsule_GetContext(capsule);
    const size_t room = count == 2 ? PyLong_AsSize_t(args[1]) : 0;
    PyObject *before, *result = NULL;
    rl_buf buf;

    if (PyErr_Occurred()) {
        return NULL;
    }
    if (options == NULL || room < RL_CUT_MIN) {
        PyErr_SetString(PyExc_RuntimeError, "shorten was called out of place");
        return NULL;
    }
    before = options->raised->error;
    rl_buf_init(&buf, RL_BUF_MAX);
    rl_encode_plain(options, args[0], room, &buf);
    if (buf.failed) {
        PyErr_NoMemory();
    } else if (options->raised->error != before) { /* no more code of the user's */
        PyErr_SetString(PyExc_RuntimeError, "the program was interrupted");
    } else {
        result = PyUnicode_DecodeUTF8(buf.len > 0 ? buf.data : "", (Py_ssize_t)buf.len,
                                      "replace");
    }
    rl_buf_free(&buf);
    return result;
}

static PyMethodDef shorten_method = {"shorten", (PyCFunction)(void (*)(void))shorten,
                                     METH_FASTCALL, NULL};

/* The text of a traceback; a new reference, NULL with an error set. */
static PyObject *format(const rl_encode_options *options, PyObject *error)
{
    rl_encode_options lent = *options;
    PyObject *module = rl_import("runlog._traceback");
    PyObject *capsule = PyCapsule_New(&shorten_method, NULL, NULL);
    PyObject *callable = NULL, *text = NULL;

    if (module != NULL && capsule != NULL && PyCapsule_SetContext(capsule, &lent) == 0) {
        callable = PyCFunction_New(&shorten_method, capsule);
    }
    if (callable != NULL) {
        text = PyObject_CallMethod(module, "format_traceback", "OO", error, callable);
    }
    if (capsule != NULL) { /* in case that the callable was kept */
        (void)PyCapsule_SetContext(capsule, NULL);
    }
    Py_XDECREF(callable);
    Py_XDECREF(capsule);
    Py_XDECREF(module);
    return text;
}

void rl_traceback_add(const rl_encode_options *options, const rl_handler *self,
                      rl_key key, PyObject *error, rl_buf *text, rl_span_end *end)
{
    rl_encode_options plain = *options;
    rl_error_keys keys;
    PyObject *formatted;

    if (end->outcome != RL_FAILED || error == NULL || !PyExceptionInstance_Check(error)) {
        return;
    }
    end->error_key = read_keys(error, &keys);
    if (rl_graphs_knows_error(self->graphs, key, &keys)) {
        return;
    }
    formatted = format(options, error);
    plain.redact = NULL; /* its parts are without secrets */
    if (formatted != NULL && PyUnicode_Check(formatted)) {
        rl_encode_plain(&plain, formatted, RL_PLAIN_TRACEBACK, text);
    }
    if (formatted == NULL || text->failed) {
        rl_raised_absorb(options->raised);
        rl_graph_runs_count_error(self);
    } else {
        end->error_traceback = (rl_text){text->data, text->len};
    }
    Py_XDECREF(formatted);
}
