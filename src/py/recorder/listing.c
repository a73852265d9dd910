/* Pages of runs: arguments into a listing, its rows into a Page. See listing.h. */
#include "py/recorder/listing.h"

#include "core/clock.h"
#include "core/uuid.h"
#include "py/base/arguments.h"
#include "py/base/errors.h"
#include "py/base/times.h"
#include "py/recorder/filters.h"
#include "py/recorder/query.h"

#include <string.h>

/* "<time stamp>~<id>" of the last run of a page. */
#define CURSOR_TIME (RL_TIME_TEXT - 1)
#define CURSOR_LEN (CURSOR_TIME + 1 + RL_UUID_TEXT - 1)

/* Those that come first and last of all in order. */
#define FIRST_ID "00000000-0000-0000-0000-000000000000"
#define LAST_ID "ffffffff-ffff-ffff-ffff-ffffffffffff"

static int read_cursor(rl_state *state, PyObject *value, rl_query *query)
{
    const char *text;

    if (rl_read_text(state, "after", value, &text) < 0) {
        return -1;
    }
    if (text == NULL) {
        return 0;
    }
    if (strlen(text) != CURSOR_LEN || text[CURSOR_TIME] != '~' ||
        !rl_time_parse(text, CURSOR_TIME, &query->after_time) ||
        !rl_query_is_uuid(text + CURSOR_TIME + 1)) {
        return rl_errors_invalid(state, "after", "must be the next of an earlier page",
                                 value);
    }
    query->after_id = text + CURSOR_TIME + 1;
    return 0;
}

/* The cursor behind the run with this time and id. */
static PyObject *make_cursor(int64_t time, const char *id)
{
    char stamp[RL_TIME_TEXT];

    rl_time_format(time, stamp);
    return PyUnicode_FromFormat("%s~%.36s", stamp, id);
}

/* The cursor behind a full page. Only other programs write runs whose time or id can't be
 * in one. Behind such an id are the runs of an earlier time. A time that is none is passed
 * over: the next page goes on behind the last run of this one that has a time, or, after a
 * first page without any, with those that have; after a later one, there are no more. */
static PyObject *cursor_behind(const rl_listing *listing, size_t asked)
{
    const rl_rows *rows = &listing->rows;
    const rl_cell *time = NULL, *id = NULL;
    size_t width;

    (void)rl_shape_columns(RL_SHAPE_SUMMARY, &width);
    for (size_t i = asked; i > 0 && (time == NULL || time->null); i--) {
        const size_t first = (i - 1) * width;

        time =
            rl_rows_cell(rows, first + rl_shape_index(RL_SHAPE_SUMMARY, RL_CREATED_AT));
        id = rl_rows_cell(rows, first + rl_shape_index(RL_SHAPE_SUMMARY, RL_ID));
    }
    if (time == NULL || id == NULL || time->null) {
        return listing->query.after_id == NULL ? make_cursor(RL_TIME_MAX, LAST_ID)
                                               : Py_NewRef(Py_None);
    }
    return make_cursor(time->number, !id->null && id->len == RL_UUID_TEXT - 1
                                         ? rows->arena.data + id->at
                                         : FIRST_ID);
}

/* The cursor of the next page, or None. `asked`: the runs of a full page; one more was
 * read, to know whether there is a next one. */
static PyObject *next_cursor(const rl_listing *listing, size_t asked, bool *complete)
{
    size_t width;

    (void)rl_shape_columns(RL_SHAPE_SUMMARY, &width);
    *complete = true;
    if (rl_rows_cells(&listing->rows) / width > asked) {
        return cursor_behind(listing, asked);
    }
    *complete = !listing->stopped;
    return listing->stopped ? make_cursor(listing->last_time, listing->last_id)
                            : Py_NewRef(Py_None);
}

static PyObject *make_page(rl_state *state, const rl_listing *listing)
{
    size_t asked = (size_t)listing->query.limit - 1;
    bool complete;
    PyObject *page = PyStructSequence_New(state->page_type);
    PyObject *runs = rl_query_rows(state, &listing->rows, RL_SHAPE_SUMMARY, asked);
    PyObject *next = next_cursor(listing, asked, &complete);

    if (page == NULL || runs == NULL || next == NULL) {
        Py_XDECREF(next);
        Py_XDECREF(runs);
        Py_CLEAR(page);
    } else {
        PyStructSequence_SetItem(page, 0, runs);
        PyStructSequence_SetItem(page, 1, next);
        PyStructSequence_SetItem(page, 2, PyBool_FromLong(complete));
    }
    return page;
}

/* Reads the rows without the GIL. 0, or -1 with an error set. */
static int read_rows(rl_state *state, rl_recorder *core, rl_listing *listing)
{
    rl_status status;
    rl_err err;

    Py_BEGIN_ALLOW_THREADS
    status = rl_recorder_list(core, listing, &err);
    Py_END_ALLOW_THREADS
    if (status != RL_OK) {
        rl_errors_raise(state, &err);
    }
    return status == RL_OK ? 0 : -1;
}

/* The arguments that select runs. */
typedef struct selection {
    PyObject *wpk_id, *run_id, *status, *thread_id, *tag, *metadata, *error, *node,
        *since, *until;
} selection;

static int read_selection(rl_state *state, const selection *given, rl_filters *filters,
                          rl_listing *listing)
{
    rl_query *query = &listing->query;

    return rl_read_text(state, "wpk_id", given->wpk_id, &query->texts[RL_WPK_ID]) == 0 &&
                   rl_filters_run_id(filters, state, given->run_id,
                                     &query->texts[RL_RUN_ID]) == 0 &&
                   rl_filters_statuses(filters, state, given->status, listing->statuses,
                                       RL_LISTING_STATUSES, &listing->count) == 0 &&
                   rl_filters_thread_id(filters, state, given->thread_id,
                                        &query->texts[RL_THREAD_ID]) == 0 &&
                   rl_read_text(state, "tag", given->tag, &query->tag) == 0 &&
                   rl_filters_metadata(filters, state, given->metadata,
                                       &query->metadata) == 0 &&
                   rl_filters_search(state, "error", given->error, &query->error) == 0 &&
                   rl_filters_search(state, "node", given->node, &query->node) == 0 &&
                   rl_read_time(state, "since", given->since, &query->since) == 0 &&
                   rl_read_time(state, "until", given->until, &query->until) == 0
               ? 0
               : -1;
}

PyObject *rl_listing_list_runs(rl_state *state, rl_recorder *core, PyObject *args,
                               PyObject *kwargs)
{
    static char *names[] = {"wpk_id", "status", "thread_id", "tag",   "metadata",
                            "error",  "node",   "since",     "until", "limit",
                            "after",  "run_id", NULL};
    selection given = {0};
    PyObject *limit = NULL, *after = NULL, *page = NULL;
    rl_filters filters;
    rl_listing listing;

    if (!PyArg_ParseTupleAndKeywords(
            args, kwargs, "|$OOOOOOOOOOOO:list_runs", names, &given.wpk_id, &given.status,
            &given.thread_id, &given.tag, &given.metadata, &given.error, &given.node,
            &given.since, &given.until, &limit, &after, &given.run_id)) {
        return NULL;
    }
    rl_filters_init(&filters);
    rl_listing_init(&listing);
    listing.query.limit = 20;
    if (read_selection(state, &given, &filters, &listing) == 0 &&
        rl_query_read_limit(state, limit, &listing.query) == 0 &&
        read_cursor(state, after, &listing.query) == 0) {
        listing.query.limit++;
        if (read_rows(state, core, &listing) == 0) {
            page = make_page(state, &listing);
        }
    }
    rl_listing_free(&listing);
    rl_filters_clear(&filters);
    return page;
}

/* The rows of a count: (span, status, number). */
static PyObject *counts_to_list(const rl_rows *rows)
{
    PyObject *list = PyList_New(0);

    for (size_t i = 0; list != NULL && i < rl_rows_cells(rows); i += 3) {
        const rl_cell *status = rl_rows_cell(rows, i + 1);
        PyObject *text = PyUnicode_DecodeUTF8(rows->arena.data + status->at,
                                              (Py_ssize_t)status->len, "replace");
        PyObject *row =
            text != NULL
                ? Py_BuildValue("(LNL)", (long long)rl_rows_cell(rows, i)->number, text,
                                (long long)rl_rows_cell(rows, i + 2)->number)
                : NULL;

        if (row == NULL || PyList_Append(list, row) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(row);
    }
    return list;
}

/* A time, or None. */
static PyObject *time_or_none(rl_state *state, int64_t stamp)
{
    return stamp == RL_TIME_NONE ? Py_NewRef(Py_None) : rl_time_to(state, stamp);
}

/* Counts without the GIL. New reference, or NULL with an error set. */
static PyObject *run_count(rl_state *state, rl_recorder *core, rl_counting *counting)
{
    PyObject *begin, *end = NULL, *list = NULL; /* none is made with an error set */
    rl_status status;
    rl_err err;

    Py_BEGIN_ALLOW_THREADS
    status = rl_recorder_count(core, counting, &err);
    Py_END_ALLOW_THREADS
    if (status != RL_OK) {
        return rl_errors_raise(state, &err);
    }
    begin = time_or_none(state, counting->begin);
    if (begin != NULL) {
        end = time_or_none(state, counting->end);
    }
    if (end != NULL) {
        list = counts_to_list(&counting->rows);
    }
    if (list == NULL) {
        Py_XDECREF(begin);
        Py_XDECREF(end);
        return NULL;
    }
    return Py_BuildValue("(NNNN)", begin, end, PyBool_FromLong(!counting->stopped), list);
}

PyObject *rl_listing_count_runs(rl_state *state, rl_recorder *core, PyObject *args,
                                PyObject *kwargs)
{
    static char *names[] = {"wpk_id", "status", "thread_id", "tag",   "metadata", "error",
                            "node",   "since",  "until",     "spans", NULL};
    selection given = {0};
    PyObject *spans = NULL, *found = NULL;
    rl_filters filters;
    rl_counting counting;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$OOOOOOOOOO:count_runs", names,
                                     &given.wpk_id, &given.status, &given.thread_id,
                                     &given.tag, &given.metadata, &given.error,
                                     &given.node, &given.since, &given.until, &spans)) {
        return NULL;
    }
    rl_filters_init(&filters);
    rl_counting_init(&counting);
    counting.spans = 1;
    if (read_selection(state, &given, &filters, &counting.listing) == 0 &&
        rl_read_int(state, "spans", "must be a whole number from 1 to 200", spans, 1,
                    RL_COUNTING_SPANS, &counting.spans) == 0) {
        found = run_count(state, core, &counting);
    }
    rl_counting_free(&counting);
    rl_filters_clear(&filters);
    return found;
}

int rl_listing_add_types(PyObject *module, rl_state *state)
{
    static PyStructSequence_Field page_fields[] = {
        {"runs", "The runs of the page, newest first."},
        {"next", "The cursor of the next page, or None."},
        {"complete", "Whether the page has all it may have: False if the search for "
                     "more has stopped at `next`."},
        {NULL, NULL}};
    static PyStructSequence_Desc description = {"runlog.Page", "A page of list_runs.",
                                                page_fields, 2};

    state->page_type = PyStructSequence_NewType(&description);
    return state->page_type != NULL
               ? PyModule_AddObjectRef(module, "Page", (PyObject *)state->page_type)
               : -1;
}
