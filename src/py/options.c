/* The options of a recorder. See options.h. */
#include "py/options.h"

#include "core/alloc.h"
#include "store/pg_pool.h"

#define PAYLOAD_MIN 1024
#define PAYLOAD_MAX (256 << 20)
#define CACHE_MIN 65536
#define CACHE_MAX (INT64_C(1) << 40)
#define TIMEOUT_MIN 0.05 /* seconds */
#define TIMEOUT_MAX 3600.0

#define BASE_URL "https://api.openai.com/v1"
#define MODEL "text-embedding-3-small"

typedef enum option {
    POSTGRES_DSN,
    SQLITE_PATH,
    DURABILITY,
    REDACT,
    MAX_PAYLOAD,
    OPENAI_KEY,
    OPENAI_BASE_URL,
    OPENAI_HEADERS,
    EMBEDDING_MODEL,
    EMBEDDING_DIMENSIONS,
    EMBEDDING_PATH,
    MILVUS_ENDPOINT,
    MILVUS_TOKEN,
    SERVICE_TIMEOUT,
    VECTOR_CACHE,
    POSTGRES_TIMEOUT,
    POSTGRES_POOL,
    OPTIONS
} option;

static const struct {
    const char *keyword, *variable;
} names[OPTIONS] = {
    [POSTGRES_DSN] = {"postgres_dsn", "POSTGRES_DSN"},
    [SQLITE_PATH] = {"sqlite_path", "RUNLOG_SQLITE_PATH"},
    [DURABILITY] = {"durability", "RUNLOG_DURABILITY"},
    [REDACT] = {"redact", "RUNLOG_REDACT"},
    [MAX_PAYLOAD] = {"max_payload", "RUNLOG_MAX_PAYLOAD"},
    [OPENAI_KEY] = {"openai_key", "OPENAI_KEY"},
    [OPENAI_BASE_URL] = {"openai_base_url", "OPENAI_BASE_URL"},
    [OPENAI_HEADERS] = {"openai_headers", "RUNLOG_OPENAI_HEADERS"},
    [EMBEDDING_MODEL] = {"embedding_model", "RUNLOG_EMBEDDING_MODEL"},
    [EMBEDDING_DIMENSIONS] = {"embedding_dimensions", "RUNLOG_EMBEDDING_DIMENSIONS"},
    [EMBEDDING_PATH] = {"embedding_path", "RUNLOG_EMBEDDING_PATH"},
    [MILVUS_ENDPOINT] = {"milvus_endpoint", "MILVUS_ENDPOINT"},
    [MILVUS_TOKEN] = {"milvus_token", "MILVUS_TOKEN"},
    [SERVICE_TIMEOUT] = {"service_timeout", "RUNLOG_SERVICE_TIMEOUT"},
    [VECTOR_CACHE] = {"vector_cache", "RUNLOG_VECTOR_CACHE"},
    [POSTGRES_TIMEOUT] = {"postgres_timeout", "RUNLOG_POSTGRES_TIMEOUT"},
    [POSTGRES_POOL] = {"postgres_pool", "RUNLOG_POSTGRES_POOL"},
};

/* Raises ConfigError "<option> (<VARIABLE>) <problem>"; always returns -1. The message
 * does not show the value, which may be a secret. */
static int wrong(rl_state *state, option which, const char *problem)
{
    PyErr_Format(state->config_error, "%s (%s) %s", names[which].keyword,
                 names[which].variable, problem);
    return -1;
}

static int refuse_unknown(PyObject *kwargs)
{
    PyObject *key, *value;
    Py_ssize_t at = 0;

    while (PyDict_Next(kwargs, &at, &key, &value)) {
        bool known = false;

        for (int i = 0; i < OPTIONS && !known; i++) {
            known = PyUnicode_CompareWithASCIIString(key, names[i].keyword) == 0;
        }
        if (!known) {
            PyErr_Format(PyExc_TypeError,
                         "Recorder() got an unexpected keyword argument %R", key);
            break;
        }
    }
    return -1;
}

/* The value of each option: a new reference, NULL where it is not set. */
static int collect(PyObject *kwargs, PyObject *values[OPTIONS])
{
    PyObject *os = PyImport_ImportModule("os");
    PyObject *environ = os != NULL ? PyObject_GetAttrString(os, "environ") : NULL;
    Py_ssize_t known = 0;
    int rc = environ != NULL ? 0 : -1;

    for (int i = 0; i < OPTIONS && rc == 0; i++) {
        PyObject *given =
            kwargs != NULL ? PyDict_GetItemString(kwargs, names[i].keyword) : NULL;

        known += given != NULL;
        if (given != NULL && given != Py_None) {
            values[i] = Py_NewRef(given);
        } else {
            values[i] = PyObject_CallMethod(environ, "get", "s", names[i].variable);
            rc = values[i] != NULL ? 0 : -1;
            if (values[i] == Py_None ||
                (values[i] != NULL && PyUnicode_GET_LENGTH(values[i]) == 0)) {
                Py_CLEAR(values[i]);
            }
        }
    }
    if (rc == 0 && kwargs != NULL && PyDict_GET_SIZE(kwargs) != known) {
        rc = refuse_unknown(kwargs);
    }
    Py_XDECREF(environ);
    Py_XDECREF(os);
    return rc;
}

/* A copy of a text without NUL, owned by the caller. */
static int copy_text(rl_state *state, option which, PyObject *value, char **out)
{
    const char *text = PyUnicode_Check(value) ? PyUnicode_AsUTF8(value) : NULL;

    if (text == NULL || strlen(text) != (size_t)PyUnicode_GetLength(value)) {
        Py_ssize_t size = 0;

        PyErr_Clear();
        text = PyUnicode_Check(value) ? PyUnicode_AsUTF8AndSize(value, &size) : NULL;
        if (text == NULL || strlen(text) != (size_t)size) {
            PyErr_Clear();
            return wrong(state, which, "must be text without NUL characters");
        }
    }
    *out = rl_strdup(text);
    if (*out == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

static int read_path(rl_state *state, PyObject *value, rl_options *options)
{
    PyObject *path =
        value != NULL ? PyOS_FSPath(value) : PyUnicode_FromString("test_runs.db");
    int rc;

    if (path == NULL) {
        PyErr_Clear();
        return wrong(state, SQLITE_PATH, "must be the path of a file");
    }
    options->default_path = value == NULL;
    rc = copy_text(state, SQLITE_PATH, path, &options->config.sqlite_path);
    Py_DECREF(path);
    if (rc == 0 && (options->config.sqlite_path[0] == '\0' ||
                    strcmp(options->config.sqlite_path, ":memory:") == 0)) {
        return wrong(state, SQLITE_PATH,
                     "must be the path of a file: what is kept in memory "
                     "only is lost with the process");
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
                return wrong(state, DURABILITY,
                             "is \"store\", which needs POSTGRES_DSN; without it use "
                             "\"disk\" or \"journal\"");
            }
            config->log_runs = (rl_durability)i;
            config->graph_runs = (rl_durability)i;
            return 0;
        }
    }
    PyErr_Format(state->config_error,
                 "%s (%s) must be \"journal\", \"disk\" or \"store\", not %R",
                 names[DURABILITY].keyword, names[DURABILITY].variable, value);
    return -1;
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
    if (text == NULL) {
        PyErr_Clear();
        rc = wrong(state, REDACT,
                   "must be keys separated by commas, or a sequence of them");
    } else if (rl_redact_add(redact, text, &err) != RL_OK) {
        PyErr_NoMemory();
        rc = -1;
    }
    Py_XDECREF(joined);
    Py_XDECREF(separator);
    Py_XDECREF(list);
    return rc;
}

/* A whole number, given as one or as text; -1 when it is neither. */
static long long read_whole(PyObject *value)
{
    PyObject *number = NULL;
    long long whole;

    if (PyUnicode_Check(value)) {
        number = PyLong_FromUnicodeObject(value, 10);
    } else if (!PyBool_Check(value)) {
        number = PyNumber_Index(value);
    }
    whole = number != NULL ? PyLong_AsLongLong(number) : -1;
    Py_XDECREF(number);
    PyErr_Clear();
    return whole;
}

/* A whole number from low to high, in `unit`s; without a value (NULL) *out stays. */
static int read_number(rl_state *state, option which, PyObject *value, const char *unit,
                       long long low, long long high, long long *out)
{
    long long number = value != NULL ? read_whole(value) : *out;

    if (number < low || number > high) {
        PyErr_Format(state->config_error,
                     "%s (%s) must be a number of %s from %lld to %lld, not %R",
                     names[which].keyword, names[which].variable, unit, low, high, value);
        return -1;
    }
    *out = number;
    return 0;
}

int rl_options_max_payload(rl_state *state, PyObject *value, size_t *bytes)
{
    long long size = (long long)RL_MAX_PAYLOAD;
    int rc =
        read_number(state, MAX_PAYLOAD, value, "bytes", PAYLOAD_MIN, PAYLOAD_MAX, &size);

    *bytes = (size_t)size;
    return rc;
}

static int read_pool(rl_state *state, PyObject *value, unsigned *pool)
{
    long long size = RL_POSTGRES_POOL;
    int rc =
        read_number(state, POSTGRES_POOL, value, "connections", 1, RL_PG_POOL_MAX, &size);

    *pool = (unsigned)size;
    return rc;
}

static int read_timeout(rl_state *state, option which, PyObject *value, double seconds,
                        uint64_t *ns)
{
    PyObject *number = NULL;

    if (value != NULL) {
        if (PyUnicode_Check(value)) {
            number = PyFloat_FromString(value);
        } else if (!PyBool_Check(value)) {
            number = PyNumber_Float(value);
        }
        seconds = number != NULL ? PyFloat_AS_DOUBLE(number) : -1.0;
        Py_XDECREF(number);
        PyErr_Clear();
    }
    if (!(seconds >= TIMEOUT_MIN && seconds <= TIMEOUT_MAX)) { /* also false for NaN */
        PyErr_Format(state->config_error,
                     "%s (%s) must be seconds, from 0.05 to 3600, not %R",
                     names[which].keyword, names[which].variable, value);
        return -1;
    }
    *ns = (uint64_t)(seconds * 1e9);
    return 0;
}

/* A text, or the default (which may be NULL) where there is none. */
static int read_text(rl_state *state, option which, PyObject *value, const char *fallback,
                     char **out)
{
    if (value != NULL) {
        return copy_text(state, which, value, out);
    }
    *out = fallback != NULL ? rl_strdup(fallback) : NULL;
    if (fallback != NULL && *out == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

/* The lines of a text as a list; of a mapping, "key: value". New reference. */
static PyObject *header_lines(PyObject *value)
{
    PyObject *items, *lines;

    if (PyUnicode_Check(value)) {
        return PyUnicode_Splitlines(value, 0);
    }
    items = PyMapping_Items(value);
    lines = items != NULL ? PyList_New(0) : NULL;
    for (Py_ssize_t i = 0; lines != NULL && i < PyList_GET_SIZE(items); i++) {
        PyObject *item = PyList_GET_ITEM(items, i), *line = NULL;

        if (PyTuple_Check(item) && PyTuple_GET_SIZE(item) == 2) {
            line = PyUnicode_FromFormat("%S: %S", PyTuple_GET_ITEM(item, 0),
                                        PyTuple_GET_ITEM(item, 1));
        }
        if (line == NULL || PyList_Append(lines, line) < 0) {
            Py_CLEAR(lines);
        }
        Py_XDECREF(line);
    }
    Py_XDECREF(items);
    return lines;
}

static bool is_header(const char *line)
{
    const char *colon = strchr(line, ':');

    return colon != NULL && colon > line && strpbrk(line, "\r\n") == NULL;
}

/* The messages show no header, as it may hold a key. */
static int read_headers(rl_state *state, PyObject *value, char ***headers)
{
    PyObject *lines = value != NULL ? header_lines(value) : NULL;
    Py_ssize_t count = lines != NULL ? PyList_GET_SIZE(lines) : 0, filled = 0;
    int rc = 0;

    if (value == NULL) {
        return 0;
    }
    if (lines == NULL) {
        PyErr_Clear();
        return wrong(state, OPENAI_HEADERS,
                     "must be a mapping of names to values, or lines of \"Name: value\"");
    }
    *headers = rl_calloc((size_t)count + 1, sizeof **headers);
    if (*headers == NULL) {
        PyErr_NoMemory();
        rc = -1;
    }
    for (Py_ssize_t i = 0; i < count && rc == 0; i++) {
        PyObject *line = PyList_GET_ITEM(lines, i);

        if (PyUnicode_GET_LENGTH(line) > 0) {
            rc = copy_text(state, OPENAI_HEADERS, line, &(*headers)[filled]);
            if (rc == 0 && !is_header((*headers)[filled++])) {
                rc =
                    wrong(state, OPENAI_HEADERS, "has a line that is no \"Name: value\"");
            }
        }
    }
    Py_DECREF(lines);
    return rc;
}

/* The settings of embeddings, Milvus and search. */
static int read_meaning(rl_state *state, PyObject *const values[OPTIONS],
                        rl_meaning_config *config)
{
    long long dimensions = 0, cache = (long long)RL_VECTOR_CACHE;
    int rc = 0;

    if (read_text(state, OPENAI_KEY, values[OPENAI_KEY], NULL, &config->openai_key) < 0 ||
        read_text(state, OPENAI_BASE_URL, values[OPENAI_BASE_URL], BASE_URL,
                  &config->openai_base_url) < 0 ||
        read_text(state, EMBEDDING_MODEL, values[EMBEDDING_MODEL], MODEL,
                  &config->model) < 0 ||
        read_text(state, EMBEDDING_PATH, values[EMBEDDING_PATH], NULL, &config->path) <
            0 ||
        read_text(state, MILVUS_ENDPOINT, values[MILVUS_ENDPOINT], NULL,
                  &config->milvus_endpoint) < 0 ||
        read_text(state, MILVUS_TOKEN, values[MILVUS_TOKEN], NULL,
                  &config->milvus_token) < 0 ||
        read_headers(state, values[OPENAI_HEADERS], &config->headers) < 0 ||
        read_number(state, EMBEDDING_DIMENSIONS, values[EMBEDDING_DIMENSIONS], "numbers",
                    0, RL_EMBEDDING_DIM_MAX, &dimensions) < 0 ||
        read_number(state, VECTOR_CACHE, values[VECTOR_CACHE], "bytes", CACHE_MIN,
                    CACHE_MAX, &cache) < 0 ||
        read_timeout(state, SERVICE_TIMEOUT, values[SERVICE_TIMEOUT], RL_SERVICE_TIMEOUT,
                     &config->timeout_ns) < 0) {
        rc = -1;
    }
    config->dimensions = (unsigned)dimensions;
    config->vector_bytes = (size_t)cache;
    return rc;
}

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

static int load_migrations(const char *dialect, rl_migration_set *set)
{
    PyObject *module = PyImport_ImportModule("runlog.migrations");
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

int rl_options_read(rl_state *state, PyObject *kwargs, rl_options *options)
{
    PyObject *values[OPTIONS] = {NULL};
    rl_config *config = &options->config;
    int rc;

    memset(options, 0, sizeof *options);
    rc = collect(kwargs, values);
    if (rc == 0 && values[POSTGRES_DSN] != NULL) {
        rc = copy_text(state, POSTGRES_DSN, values[POSTGRES_DSN], &config->postgres_dsn);
    }
    if (rc == 0 && read_path(state, values[SQLITE_PATH], options) == 0 &&
        read_durability(state, values[DURABILITY], config) == 0 &&
        rl_options_redact(state, values[REDACT], &config->redact) == 0 &&
        rl_options_max_payload(state, values[MAX_PAYLOAD], &config->max_payload) == 0 &&
        read_timeout(state, POSTGRES_TIMEOUT, values[POSTGRES_TIMEOUT],
                     RL_POSTGRES_TIMEOUT, &config->timeout_ns) == 0 &&
        read_pool(state, values[POSTGRES_POOL], &config->pool) == 0 &&
        read_meaning(state, values, &config->meaning) == 0) {
        rc = load_migrations("sqlite", &config->sqlite);
        if (rc == 0 && config->postgres_dsn != NULL) {
            rc = load_migrations("postgres", &config->postgres);
            if (rc == 0) {
                rc = load_migrations("pgvector", &config->pgvector);
            }
        }
    } else {
        rc = -1;
    }
    for (int i = 0; i < OPTIONS; i++) {
        Py_XDECREF(values[i]);
    }
    return rc;
}
