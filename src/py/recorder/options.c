/* The options of a recorder. See options.h. */
#include "py/recorder/options.h"

#include "py/base/errors.h"
#include "py/base/imports.h"
#include "py/base/option_values.h"
#include "py/base/raised.h"
#include "py/recorder/migrations.h"
#include "store/postgres/pg_dsn.h"
#include "store/postgres/pg_pool.h"

#define PAYLOAD_MIN 1024
#define PAYLOAD_MAX (256 << 20)
#define MEMORY_MIN (1LL << 20)
#define MEMORY_MAX (1LL << 40)

typedef enum option {
    POSTGRES_DSN,
    READ_DSN,
    SQLITE_PATH,
    DURABILITY,
    REDACT,
    MAX_PAYLOAD,
    MAX_VALUE,
    MAX_MEMORY,
    POSTGRES_TIMEOUT,
    POSTGRES_POOL,
    OPTIONS
} option;

static const rl_option table[OPTIONS] = {
    [POSTGRES_DSN] = {"postgres_dsn", "POSTGRES_DSN"},
    [READ_DSN] = {"read_dsn", "POSTGRES_READ_DSN"},
    [SQLITE_PATH] = {"sqlite_path", "RUNLOG_SQLITE_PATH"},
    [DURABILITY] = {"durability", "RUNLOG_DURABILITY"},
    [REDACT] = {"redact", "RUNLOG_REDACT"},
    [MAX_PAYLOAD] = {"max_payload", "RUNLOG_MAX_PAYLOAD"},
    [MAX_VALUE] = {"max_value", "RUNLOG_MAX_VALUE"},
    [MAX_MEMORY] = {"max_memory", "RUNLOG_MAX_MEMORY"},
    [POSTGRES_TIMEOUT] = {"postgres_timeout", "RUNLOG_POSTGRES_TIMEOUT"},
    [POSTGRES_POOL] = {"postgres_pool", "RUNLOG_POSTGRES_POOL"},
};

/* The path with the user's folder for a "~" at its start. New reference, or NULL. */
static PyObject *expand_path(PyObject *value)
{
    PyObject *os_path = rl_import("os.path");
    PyObject *path =
        os_path != NULL ? PyObject_CallMethod(os_path, "expanduser", "O", value) : NULL;

    Py_XDECREF(os_path);
    return path;
}

/* Whether a text is a URL, which would become the path of a file below this folder. */
static bool is_url(const char *path)
{
    return strncmp(path, "file:", 5) == 0 || strncmp(path, "sqlite:", 7) == 0 ||
           strstr(path, "://") != NULL;
}

static int read_path(rl_state *state, PyObject *value, rl_options *options)
{
    PyObject *path =
        value != NULL ? expand_path(value) : PyUnicode_FromString("test_runs.db");
    int rc;

    if (path == NULL) {
        return rl_raised_is_own() ? rl_option_refuse(state, &table[SQLITE_PATH],
                                                     "must be the path of a file")
                                  : -1;
    }
    options->default_path = value == NULL;
    rc = rl_option_copy(state, &table[SQLITE_PATH], path, &options->config.sqlite_path);
    Py_DECREF(path);
    if (rc == 0 && (options->config.sqlite_path[0] == '\0' ||
                    strcmp(options->config.sqlite_path, ":memory:") == 0)) {
        return rl_option_refuse(state, &table[SQLITE_PATH],
                                "must be the path of a file: a database in memory is "
                                "lost with the process");
    }
    if (rc == 0 && is_url(options->config.sqlite_path)) {
        return rl_option_refuse(
            state, &table[SQLITE_PATH],
            "must be the path of a file, not a URL: leave out what is "
            "before the path");
    }
    return rc;
}

static int read_durability(rl_state *state, PyObject *value, rl_config *config)
{
    static const char *const texts[] = {
        [RL_JOURNAL] = "journal", [RL_DISK] = "disk", [RL_SERVER] = "store"};
    bool server = config->postgres_dsn != NULL;

    config->log_runs = server ? RL_SERVER : RL_DISK;
    config->graph_runs = RL_JOURNAL;
    if (value == NULL) {
        return 0;
    }
    for (int i = RL_JOURNAL; i <= RL_SERVER; i++) {
        if (PyUnicode_Check(value) &&
            PyUnicode_CompareWithASCIIString(value, texts[i]) == 0) {
            if (i == RL_SERVER && !server) {
                return rl_option_refuse(
                    state, &table[DURABILITY],
                    "is \"store\", which needs POSTGRES_DSN; without it use "
                    "\"disk\" or \"journal\"");
            }
            config->log_runs = (rl_durability)i;
            config->graph_runs = (rl_durability)i;
            return 0;
        }
    }
    return rl_option_refuse_value(state, &table[DURABILITY],
                                  "\"journal\", \"disk\" or \"store\"", value);
}

int rl_options_redact(rl_state *state, PyObject *value, rl_redact *redact)
{
    PyObject *separator = NULL, *list = NULL, *joined = NULL;
    const char *text = RL_REDACT_DEFAULT;
    rl_err err;
    int rc = 0;

    if (value != NULL && PyUnicode_Check(value)) {
        joined = Py_NewRef(value);
    } else if (value != NULL) {
        list = PySequence_List(value);
        separator = PyUnicode_FromString(",");
        joined =
            list != NULL && separator != NULL ? PyUnicode_Join(separator, list) : NULL;
    }
    if (value != NULL) {
        text = joined != NULL ? PyUnicode_AsUTF8(joined) : NULL;
    }
    if (text == NULL && !rl_raised_is_own()) {
        rc = -1;
    } else if (text == NULL) {
        rc = rl_option_refuse(
            state, &table[REDACT],
            "must be names and rules separated by commas, or a sequence of "
            "them");
    } else if (rl_redact_add(redact, text, &err) != RL_OK) {
        PyErr_NoMemory();
        rc = -1;
    }
    Py_XDECREF(joined);
    Py_XDECREF(separator);
    Py_XDECREF(list);
    return rc;
}

static int read_bytes(rl_state *state, option which, PyObject *value, size_t given,
                      size_t *bytes)
{
    long long size = (long long)given;
    int rc = rl_option_number(state, &table[which], value, "bytes", PAYLOAD_MIN,
                              PAYLOAD_MAX, &size);

    *bytes = (size_t)size;
    return rc;
}

int rl_options_max_payload(rl_state *state, PyObject *value, size_t *bytes)
{
    return read_bytes(state, MAX_PAYLOAD, value, RL_MAX_PAYLOAD, bytes);
}

int rl_options_max_value(rl_state *state, PyObject *value, size_t *bytes)
{
    return read_bytes(state, MAX_VALUE, value, RL_MAX_VALUE, bytes);
}

static int read_memory(rl_state *state, PyObject *value, size_t *bytes)
{
    long long size = RL_MAX_MEMORY;
    int rc = rl_option_number(state, &table[MAX_MEMORY], value, "bytes", MEMORY_MIN,
                              MEMORY_MAX, &size);

    *bytes = (size_t)size;
    return rc;
}

static int read_pool(rl_state *state, PyObject *value, unsigned *pool)
{
    long long size = RL_POSTGRES_POOL;
    int rc = rl_option_number(state, &table[POSTGRES_POOL], value, "connections", 1,
                              RL_PG_POOL_MAX, &size);

    *pool = (unsigned)size;
    return rc;
}

/* The values of the recorder's own options, and of those of the wings, one behind the
 * other. */
static int collect_all(PyObject *kwargs, const rl_state *state, PyObject **values,
                       PyObject **more)
{
    rl_option options[RL_WING_OPTIONS];
    size_t count = 0;

    for (int i = 0; i < RL_WINGS; i++) {
        const rl_wing *wing = state->wings[i];

        memcpy(&options[count], wing->options, wing->count * sizeof *options);
        count += wing->count;
    }
    if (rl_option_check_keywords(kwargs, table, OPTIONS, options, count) < 0 ||
        rl_option_collect(kwargs, table, OPTIONS, values) < 0) {
        return -1;
    }
    return rl_option_collect(kwargs, options, count, more);
}

static int make_companions(rl_state *state, PyObject *const *more, bool postgres,
                           rl_options *options)
{
    int rc = 0;

    for (int i = 0; i < RL_WINGS && rc == 0; i++) {
        rc = state->wings[i]->make_companion(state, more, postgres,
                                             &options->companions[i]);
        more += state->wings[i]->count;
    }
    return rc;
}

/* Whether an option names a server. An empty text is none, as in the environment: libpq
 * would take it for the server and the database of the user's name. */
static bool names_server(PyObject *value)
{
    return value != NULL && !(PyUnicode_Check(value) && PyUnicode_GET_LENGTH(value) == 0);
}

/* The replica that reads go to. Its DSN is checked here: a read would notice too late. */
static int read_replica(rl_state *state, PyObject *value, rl_config *config)
{
    rl_pg_dsn ignored;
    rl_err err;

    if (value == NULL) {
        return 0;
    }
    if (rl_option_copy(state, &table[READ_DSN], value, &config->read_dsn) < 0) {
        return -1;
    }
    if (config->read_dsn[strspn(config->read_dsn, " \t\r\n")] == '\0') {
        return rl_option_refuse(state, &table[READ_DSN],
                                "is empty: name a hot standby of the server of "
                                "postgres_dsn, or leave it out");
    }
    if (config->postgres_dsn == NULL) {
        return rl_option_refuse(
            state, &table[READ_DSN],
            "needs postgres_dsn (POSTGRES_DSN), as it names a replica "
            "of that server: set that too, or leave it out");
    }
    if (rl_pg_dsn_check(config->read_dsn, RL_PG_READ_DSN, &ignored, &err) != RL_OK) {
        err.code = err.code == RL_STORE ? RL_CONFIG : err.code;
        (void)rl_errors_raise(state, &err);
        return -1;
    }
    return 0;
}

/* With `more`: the values of the wings' options. */
static int read_all(rl_state *state, PyObject *const *values, PyObject *const *more,
                    rl_options *options)
{
    rl_config *config = &options->config;
    bool postgres = names_server(values[POSTGRES_DSN]);

    if ((postgres && rl_option_copy(state, &table[POSTGRES_DSN], values[POSTGRES_DSN],
                                    &config->postgres_dsn) < 0) ||
        read_replica(state, values[READ_DSN], config) < 0 ||
        read_path(state, values[SQLITE_PATH], options) < 0 ||
        read_durability(state, values[DURABILITY], config) < 0 ||
        rl_options_redact(state, values[REDACT], &config->redact) < 0 ||
        rl_options_max_payload(state, values[MAX_PAYLOAD], &config->max_payload) < 0 ||
        rl_options_max_value(state, values[MAX_VALUE], &config->max_value) < 0 ||
        read_memory(state, values[MAX_MEMORY], &config->max_memory) < 0 ||
        rl_option_seconds(state, &table[POSTGRES_TIMEOUT], values[POSTGRES_TIMEOUT],
                          RL_POSTGRES_TIMEOUT, &config->timeout_ns) < 0 ||
        read_pool(state, values[POSTGRES_POOL], &config->pool) < 0 ||
        rl_load_migrations("sqlite", &config->sqlite) < 0 ||
        (postgres && rl_load_migrations("postgres", &config->postgres) < 0)) {
        return -1;
    }
    return make_companions(state, more, postgres, options);
}

/* The variable names a replica of the server of the other variable, not of one that a
 * program names. */
static void pair_replica(PyObject *kwargs, PyObject **values)
{
    PyObject *server =
        kwargs != NULL ? PyDict_GetItemString(kwargs, "postgres_dsn") : NULL;
    PyObject *replica = kwargs != NULL ? PyDict_GetItemString(kwargs, "read_dsn") : NULL;

    if (server != NULL && server != Py_None && (replica == NULL || replica == Py_None)) {
        Py_CLEAR(values[READ_DSN]);
    }
}

int rl_options_read(rl_state *state, PyObject *kwargs, rl_options *options)
{
    PyObject *values[OPTIONS] = {NULL}, *more[RL_WING_OPTIONS] = {NULL};
    int rc;

    memset(options, 0, sizeof *options);
    rc = collect_all(kwargs, state, values, more);
    if (rc == 0) {
        pair_replica(kwargs, values);
        rc = read_all(state, values, more, options);
    }
    for (int i = 0; i < OPTIONS; i++) {
        Py_XDECREF(values[i]);
    }
    for (int i = 0; i < RL_WING_OPTIONS; i++) {
        Py_XDECREF(more[i]);
    }
    return rc;
}

void rl_options_free(rl_options *options)
{
    rl_config_free(&options->config);
    for (int i = 0; i < RL_WINGS; i++) {
        if (options->companions[i] != NULL) {
            options->companions[i]->ops->free(options->companions[i]);
        }
    }
}

PyObject *rl_options_dsn_has_secrets(PyObject *module, PyObject *dsn)
{
    const char *text = PyUnicode_Check(dsn) ? PyUnicode_AsUTF8(dsn) : NULL;

    (void)module;
    if (text == NULL) {
        PyErr_Clear();
    }
    return PyBool_FromLong(text == NULL || rl_pg_dsn_has_secret(text));
}
