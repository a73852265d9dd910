/* The payloads of one event. See payloads.h. */
#include "py/handler/payloads.h"

#include "py/encode/encode.h"

#include <string.h>

#define SHARED_FROM ((size_t)256)        /* bytes: a mark takes 80 */
#define SCRATCH_MAX ((size_t)256 * 1024) /* bytes: a larger buffer is freed after use */

void rl_payloads_begin(rl_state *state, rl_handler *self, rl_raised *raised,
                       PyObject *recorder, rl_payloads *to)
{
    to->buf = self->scratch;
    to->members = self->members;
    rl_buf_init(&self->scratch, RL_BUF_MAX);
    rl_buf_init(&self->members, RL_BUF_MAX);
    to->recorder = Py_NewRef(recorder);
    to->options = rl_py_recorder_encoding(state, (rl_py_recorder *)recorder, raised);
    to->options.cache = &self->cache;
    to->options.errors = &self->errors;
    to->options.value_bytes = &to->value_bytes;
    to->wide = false;
    rl_buf_init(&to->values, RL_BUF_MAX);
    to->value_bytes = 0;
}

static void give_back(rl_buf *to, rl_buf *buf)
{
    rl_buf_free(to); /* another event may have given one back meanwhile */
    rl_buf_reset(buf, SCRATCH_MAX);
    *to = *buf;
}

void rl_payloads_end(rl_handler *self, rl_payloads *texts)
{
    give_back(&self->scratch, &texts->buf);
    give_back(&self->members, &texts->members);
    for (size_t i = 0; i < rl_payloads_values(texts).count; i++) {
        rl_value_unref(rl_payloads_values(texts).list[i]);
    }
    rl_buf_free(&texts->values);
    rl_error_texts_end_event(&self->errors);
    Py_DECREF(texts->recorder);
}

rl_piece rl_payloads_add_json(rl_payloads *to, PyObject *value)
{
    rl_piece result = {to->buf.len, 0, false};

    rl_encode(&to->options, value, &to->buf, &to->wide);
    result.end = to->buf.len;
    return result;
}

/* Where the large texts of inputs and outputs go. */
static rl_buf *large_texts(rl_payloads *to)
{
    return &to->values;
}

rl_piece rl_payloads_add_outputs(rl_payloads *to, PyObject *value)
{
    rl_piece result;

    to->options.values = large_texts(to);
    result = rl_payloads_add_json(to, value);
    to->options.values = NULL;
    return result;
}

rl_piece rl_payloads_add_list(rl_payloads *to, PyObject *list, rl_buf *elements)
{
    rl_piece result = {to->buf.len, 0, false};

    to->options.values = large_texts(to);
    rl_encode_elements(&to->options, list, &to->buf, elements, &to->wide);
    to->options.values = NULL;
    result.end = to->buf.len;
    return result;
}

void rl_payloads_add_members(rl_payloads *to, PyObject *dict)
{
    rl_piece piece;
    size_t len;

    if (dict == NULL || PyErr_Occurred()) {
        rl_raised_absorb(to->options.raised);
    }
    if (dict != NULL && PyDict_GET_SIZE(dict) > 0) {
        piece = rl_payloads_add_outputs(to, dict);
        len = piece.end - piece.at;
        if (!to->buf.failed && len >= 2 && to->buf.data[piece.at] == '{') {
            memmove(to->buf.data + piece.at, to->buf.data + piece.at + 1, len - 2);
            to->buf.len -= 2;
        } else {
            to->buf.len = piece.at;
        }
    }
    Py_XDECREF(dict);
}

void rl_payloads_add_shared(rl_payloads *to, PyObject *value)
{
    rl_piece piece = rl_payloads_add_json(to, value);
    size_t len = piece.end - piece.at;
    rl_value *shared = NULL;

    if (!to->buf.failed && len >= SHARED_FROM) {
        shared = rl_value_new(to->buf.data + piece.at, len);
    }
    if (shared != NULL) {
        rl_buf_add(&to->values, &shared, sizeof shared);
        if (to->values.failed) {
            rl_value_unref(shared);
        } else {
            to->value_bytes += len;
            to->buf.len = piece.at;
            rl_buf_printf(&to->buf, "{\"$value\":\"%s\",\"bytes\":%zu,\"head\":\"\"}",
                          shared->name, len);
        }
    }
}

rl_piece rl_payloads_add_plain(rl_payloads *to, PyObject *value, size_t room)
{
    rl_piece result = {to->buf.len, 0, false};

    rl_encode_plain(&to->options, value, room, &to->buf);
    result.end = to->buf.len;
    return result;
}

rl_piece rl_payloads_add_inputs(rl_payloads *to, PyObject *value,
                                rl_node_inputs node_inputs)
{
    rl_piece result = {to->buf.len, 0, false};

    to->options.values = large_texts(to);
    if (node_inputs == RL_INPUTS_DELTA) {
        result.is_object =
            rl_encode_members(&to->options, value, &to->buf, &to->members, &to->wide);
    } else if (node_inputs == RL_INPUTS_FULL) {
        rl_encode(&to->options, value, &to->buf, &to->wide);
    }
    to->options.values = NULL;
    result.end = to->buf.len;
    return result;
}

rl_text rl_payloads_text(const rl_payloads *from, rl_piece where)
{
    rl_text text = {where.end > where.at ? from->buf.data + where.at : "",
                    where.end - where.at};

    return text;
}

rl_object rl_payloads_object(const rl_payloads *from, rl_piece where)
{
    static const rl_member none;
    rl_object object = {NULL, 0, NULL, 0};

    if (where.end > where.at) {
        object.text = from->buf.data + where.at;
        object.len = where.end - where.at;
    }
    if (where.is_object) {
        object.count = from->members.len / sizeof(rl_member);
        object.members = object.count > 0
                             ? (const rl_member *)(const void *)from->members.data
                             : &none;
    }
    return object;
}

rl_values rl_payloads_values(const rl_payloads *from)
{
    rl_values values = {(rl_value *const *)(const void *)from->values.data,
                        from->values.len / sizeof(rl_value *)};

    return values;
}
