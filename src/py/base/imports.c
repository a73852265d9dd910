/* See imports.h. `import runlog` has loaded runlog._imports. */
#include "py/base/imports.h"

PyObject *rl_import(const char *name)
{
    PyObject *imports = PyImport_ImportModule("runlog._imports");
    PyObject *module =
        imports != NULL ? PyObject_CallMethod(imports, "load", "s", name) : NULL;

    Py_XDECREF(imports);
    return module;
}
