/* Who starts the run of an event. See caller.h.
 *
 * The stack at a graph's start, innermost first: [methods of the user's subclass of
 * RunLogHandler,] handle_event and on_chain_start of langchain_core.callbacks.manager,
 * [a tool's wrapper of it,] and Pregel.stream of langgraph.pregel.main (of
 * langgraph.pregel before 0.6). The starts of nodes and of other chains come from other
 * modules of LangGraph and LangChain.
 */
#include "py/handler/caller.h"

#include <string.h>

/* The most frames to look at: three or four where nobody has wrapped anything. */
#define DEEPEST 24

/* The name of the module whose code a frame runs, borrowed from the module; "" where it
 * has none. */
static const char *module_of(PyFrameObject *frame)
{
    PyObject *globals = PyFrame_GetGlobals(frame);
    PyObject *module = globals != NULL && PyDict_Check(globals)
                           ? PyDict_GetItemString(globals, "__name__")
                           : NULL;
    const char *text =
        module != NULL && PyUnicode_Check(module) ? PyUnicode_AsUTF8(module) : NULL;

    PyErr_Clear();
    Py_XDECREF(globals);
    return text != NULL ? text : "";
}

/* Whether a module is the named package, or in it. */
static bool is_in(const char *module, const char *package)
{
    size_t len = strlen(package);

    return strncmp(module, package, len) == 0 &&
           (module[len] == '\0' || module[len] == '.');
}

bool rl_caller_is_in(PyFrameObject *frame, const char *package)
{
    return is_in(module_of(frame), package);
}

PyObject *rl_caller_local(PyFrameObject *frame, const char *name)
{
    PyObject *value;

#if PY_VERSION_HEX >= 0x030C0000
    value = PyFrame_GetVarString(frame, name);
#else
    PyObject *locals = PyFrame_GetLocals(frame);

    value = locals != NULL ? PyMapping_GetItemString(locals, name) : NULL;
    Py_XDECREF(locals);
#endif
    if (value == NULL) {
        PyErr_Clear();
    }
    return value;
}

bool rl_caller_runs_graph(PyFrameObject *frame)
{
    PyCodeObject *code = PyFrame_GetCode(frame);
    bool is = PyUnicode_CompareWithASCIIString(code->co_name, "stream") == 0 ||
              PyUnicode_CompareWithASCIIString(code->co_name, "astream") == 0;

    Py_DECREF(code);
    return is && rl_caller_is_in(frame, "langgraph.pregel");
}

PyObject *rl_caller_manager(void)
{
    PyFrameObject *frame = PyEval_GetFrame(), *back;
    PyObject *manager = NULL;

    Py_XINCREF(frame);
    for (int i = 0; frame != NULL && i < DEEPEST && manager == NULL; i++) {
        if (rl_caller_is_in(frame, "langchain_core.callbacks")) {
            manager = rl_caller_local(frame, "self");
        } else if (rl_caller_runs_graph(frame)) {
            manager = rl_caller_local(frame, "run_manager");
        }
        back = PyFrame_GetBack(frame);
        Py_DECREF(frame);
        frame = back;
    }
    Py_XDECREF(frame);
    return manager;
}

PyObject *rl_caller_of_call(void)
{
    PyFrameObject *frame = PyEval_GetFrame(), *back;
    PyObject *manager = NULL;
    bool decided = false, is_call = false;

    Py_XINCREF(frame);
    for (int i = 0; frame != NULL && i < DEEPEST && !decided; i++) {
        const char *module = module_of(frame);

        if (is_in(module, "langchain_core.callbacks")) {
            manager = manager != NULL ? manager : rl_caller_local(frame, "self");
        } else if (manager != NULL && is_in(module, "langchain_core")) {
            is_call = is_in(module, "langchain_core.language_models") ||
                      is_in(module, "langchain_core.tools") ||
                      is_in(module, "langchain_core.retrievers");
            decided = true;
        }
        back = PyFrame_GetBack(frame);
        Py_DECREF(frame);
        frame = back;
    }
    Py_XDECREF(frame);
    if (!is_call) {
        Py_CLEAR(manager);
    }
    return manager;
}

/* Whether a frame is that of a callback manager's on_chain_start. */
static bool is_start(PyFrameObject *frame)
{
    PyCodeObject *code = PyFrame_GetCode(frame);
    bool is = PyUnicode_CompareWithASCIIString(code->co_name, "on_chain_start") == 0 &&
              rl_caller_is_in(frame, "langchain_core.callbacks");

    Py_DECREF(code);
    return is;
}

bool rl_caller_is_graph(void)
{
    PyFrameObject *frame = PyEval_GetFrame(), *back;
    bool started = false, decided = false, is_graph = false;

    Py_XINCREF(frame);
    for (int i = 0; frame != NULL && i < DEEPEST && !decided; i++) {
        if (!started) {
            started = is_start(frame);
        } else {
            const char *module = module_of(frame);

            is_graph = is_in(module, "langgraph.pregel");
            decided = is_in(module, "langgraph") || is_in(module, "langchain_core");
        }
        back = PyFrame_GetBack(frame);
        Py_DECREF(frame);
        frame = back;
    }
    Py_XDECREF(frame);
    return is_graph;
}
