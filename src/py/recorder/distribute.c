/* Laying a database out over a cluster. See distribute.h. */
#include "py/recorder/distribute.h"

#include "py/base/errors.h"
#include "py/recorder/migrations.h"
#include "store/postgres/pg_distribute.h"

PyObject *rl_distribute_postgres(PyObject *module, PyObject *args)
{
    const char *dsn;
    double seconds;
    rl_migration_set known = {NULL, 0}, layout = {NULL, 0};
    rl_migrations of_store, of_cluster;
    PyObject *result = NULL;
    bool changed = false;
    rl_status status;
    rl_err err;

    if (!PyArg_ParseTuple(args, "sd", &dsn, &seconds)) {
        return NULL;
    }
    if (rl_load_migrations("postgres", &known) < 0 ||
        rl_load_migrations("distributed", &layout) < 0) {
        goto out;
    }
    of_store = rl_migrations_of(&known);
    of_cluster = rl_migrations_of(&layout);
    Py_BEGIN_ALLOW_THREADS
    status = rl_pg_distribute(dsn, (uint64_t)(seconds * 1e9), &of_store, &of_cluster,
                              &changed, &err);
    Py_END_ALLOW_THREADS
    result = status == RL_OK ? PyBool_FromLong(changed)
                             : rl_errors_raise(PyModule_GetState(module), &err);
out:
    rl_migration_set_free(&layout);
    rl_migration_set_free(&known);
    return result;
}
