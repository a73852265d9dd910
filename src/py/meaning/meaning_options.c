/* The options of embeddings, Milvus and search. See meaning_options.h. */
#include "py/meaning/meaning_options.h"

#include "core/alloc.h"
#include "py/base/raised.h"
#include "py/recorder/migrations.h"

#define SERVICE_SECONDS 30.0 /* the default of service_timeout */

#define BASE_URL "https://api.openai.com/v1"
#define MODEL "text-embedding-3-small"

typedef enum option {
    OPENAI_KEY,
    OPENAI_BASE_URL,
    OPENAI_HEADERS,
    EMBEDDING_MODEL,
    EMBEDDING_DIMENSIONS,
    EMBEDDING_PATH,
    MILVUS_ENDPOINT,
    MILVUS_TOKEN,
    SERVICE_TIMEOUT
} option;

const rl_option rl_meaning_options[RL_MEANING_OPTIONS] = {
    [OPENAI_KEY] = {"openai_key", "OPENAI_KEY"},
    [OPENAI_BASE_URL] = {"openai_base_url", "OPENAI_BASE_URL"},
    [OPENAI_HEADERS] = {"openai_headers", "RUNLOG_OPENAI_HEADERS"},
    [EMBEDDING_MODEL] = {"embedding_model", "RUNLOG_EMBEDDING_MODEL"},
    [EMBEDDING_DIMENSIONS] = {"embedding_dimensions", "RUNLOG_EMBEDDING_DIMENSIONS"},
    [EMBEDDING_PATH] = {"embedding_path", "RUNLOG_EMBEDDING_PATH"},
    [MILVUS_ENDPOINT] = {"milvus_endpoint", "MILVUS_ENDPOINT"},
    [MILVUS_TOKEN] = {"milvus_token", "MILVUS_TOKEN"},
    [SERVICE_TIMEOUT] = {"service_timeout", "RUNLOG_SERVICE_TIMEOUT"},
};

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
    if (lines == NULL && !rl_raised_is_own()) {
        return -1;
    }
    if (lines == NULL) {
        return rl_option_refuse(
            state, &rl_meaning_options[OPENAI_HEADERS],
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
            rc = rl_option_copy(state, &rl_meaning_options[OPENAI_HEADERS], line,
                                &(*headers)[filled]);
            if (rc == 0 && !is_header((*headers)[filled++])) {
                rc = rl_option_refuse(state, &rl_meaning_options[OPENAI_HEADERS],
                                      "has a line that is not \"Name: value\"");
            }
        }
    }
    Py_DECREF(lines);
    return rc;
}

/* A text that turns a part on. An empty one is none, as in the environment. */
static int read_switch(rl_state *state, option which, PyObject *const *values, char **out)
{
    PyObject *value = values[which];
    const bool empty =
        value != NULL && PyUnicode_Check(value) && PyUnicode_GET_LENGTH(value) == 0;

    return rl_option_text(state, &rl_meaning_options[which], empty ? NULL : value, NULL,
                          out);
}

int rl_meaning_read_options(rl_state *state, PyObject *const *values, bool postgres,
                            rl_meaning_config *config)
{
    long long dimensions = 0;
    int rc = 0;

    if (read_switch(state, OPENAI_KEY, values, &config->openai_key) < 0 ||
        rl_option_text(state, &rl_meaning_options[OPENAI_BASE_URL],
                       values[OPENAI_BASE_URL], BASE_URL, &config->openai_base_url) < 0 ||
        rl_option_text(state, &rl_meaning_options[EMBEDDING_MODEL],
                       values[EMBEDDING_MODEL], MODEL, &config->model) < 0 ||
        rl_option_text(state, &rl_meaning_options[EMBEDDING_PATH], values[EMBEDDING_PATH],
                       NULL, &config->path) < 0 ||
        read_switch(state, MILVUS_ENDPOINT, values, &config->milvus_endpoint) < 0 ||
        rl_option_text(state, &rl_meaning_options[MILVUS_TOKEN], values[MILVUS_TOKEN],
                       NULL, &config->milvus_token) < 0 ||
        read_headers(state, values[OPENAI_HEADERS], &config->headers) < 0 ||
        rl_option_number(state, &rl_meaning_options[EMBEDDING_DIMENSIONS],
                         values[EMBEDDING_DIMENSIONS], "numbers", 0, RL_EMBEDDING_DIM_MAX,
                         &dimensions) < 0 ||
        rl_option_seconds(state, &rl_meaning_options[SERVICE_TIMEOUT],
                          values[SERVICE_TIMEOUT], SERVICE_SECONDS,
                          &config->timeout_ns) < 0 ||
        (postgres && rl_load_migrations("pgvector", &config->pgvector) < 0)) {
        rc = -1;
    }
    config->dimensions = (unsigned)dimensions;
    return rc;
}
