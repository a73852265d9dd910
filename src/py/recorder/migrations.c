/* Loading migrations. See migrations.h. */
#include "py/recorder/migrations.h"

#include "core/alloc.h"
#include "py/base/imports.h"

/* Copies one (number, name, sql, checksum). */
static int copy_migration(PyObject *item, rl_migration *migration)
{
    const char *name, *sql, *checksum;

    if (!PyTuple_Check(item) ||
        !PyArg_ParseTuple(item, "isss", &migration->number, &name, &sql, &checksum)) {
        return -1;
    }
    migration->name = rl_strdup(name);
    migration->sql = rl_strdup(sql);
    migration->checksum = rl_strdup(checksum);
    if (migration->name == NULL || migration->sql == NULL ||
        migration->checksum == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

int rl_load_migrations(const char *dialect, rl_migration_set *set)
{
    PyObject *module = rl_import("runlog.migrations");
    PyObject *list =
        module != NULL ? PyObject_CallMethod(module, "load", "s", dialect) : NULL;
    Py_ssize_t count = list != NULL && PyList_Check(list) ? PyList_GET_SIZE(list) : 0;
    int rc = list != NULL ? 0 : -1;

    if (rc == 0) {
        set->list = rl_calloc((size_t)count, sizeof *set->list);
        if (set->list == NULL) {
            PyErr_NoMemory();
            rc = -1;
        }
    }
    for (Py_ssize_t i = 0; i < count && rc == 0; i++) {
        set->count = (size_t)i + 1;
        rc = copy_migration(PyList_GET_ITEM(list, i), &set->list[i]);
    }
    Py_XDECREF(list);
    Py_XDECREF(module);
    return rc;
}
