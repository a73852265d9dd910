/* Reads the answers of an embedding server. See openai_answer.h. */
#include "meaning/services/openai_answer.h"

#include "core/alloc.h"
#include "core/base64.h"
#include "core/json_read.h"
#include "net/printable.h"

#include <math.h>
#include <stdio.h>

/* Reading the vectors of one answer. */
typedef struct reading {
    const rl_vectors_into *into;
    size_t count;
    bool *seen;   /* owned: [count], texts whose vector was read */
    rl_buf bytes; /* owned: of a vector in base64 */
    char *why;    /* borrowed: [RL_WHY] */
} reading;

static rl_status fail(reading *self, const char *what)
{
    snprintf(self->why, RL_WHY, "%s", what);
    return RL_SERVICE;
}

/* Every vector must have the length of the first one, and the one asked for. */
static rl_status check_dim(reading *self, size_t dim)
{
    const rl_vectors_into *into = self->into;

    if (dim == 0 || dim > into->dim_max) {
        snprintf(self->why, RL_WHY, "a vector of %zu numbers", dim);
        return RL_SERVICE;
    }
    if (into->dim_wanted != 0 && dim != into->dim_wanted) {
        snprintf(self->why, RL_WHY,
                 "a vector of %zu numbers where %u were asked for (the model may have no "
                 "choice of dimensions)",
                 dim, (unsigned)into->dim_wanted);
        return RL_SERVICE;
    }
    if (*into->dim == 0) {
        *into->values = into->rows <= SIZE_MAX / sizeof(float) / dim
                            ? rl_calloc(into->rows * dim, sizeof(float))
                            : NULL;
        if (*into->values == NULL) {
            return RL_NOMEM;
        }
        *into->dim = (uint32_t)dim;
    }
    if (dim != *into->dim) {
        snprintf(self->why, RL_WHY, "vectors of %u and of %zu numbers",
                 (unsigned)*into->dim, dim);
        return RL_SERVICE;
    }
    return RL_OK;
}

/* Base64 of little-endian float32. */
static rl_status read_base64(reading *self, rl_json_value text, size_t row)
{
    rl_buf *bytes = &self->bytes;
    rl_json_value inside = rl_json_inside(text);
    const uint8_t *from;
    size_t size, used = 0;
    rl_status status;
    float *to;

    bytes->len = 0;
    if (memchr(inside.text, '\\', inside.len) != NULL) { /* "\/" is a way to write "/" */
        (void)rl_json_unescape(text, bytes);
        inside = (rl_json_value){bytes->data, bytes->len};
        used = bytes->len;
    }
    if (!rl_buf_reserve(bytes, RL_BASE64_ROOM(inside.len) + 1)) {
        return RL_NOMEM;
    }
    if (used > 0) { /* reserving may have moved the buffer */
        inside.text = bytes->data;
    }
    from = (const uint8_t *)bytes->data + used;
    if (!rl_base64_decode(inside.text, inside.len, (uint8_t *)bytes->data + used,
                          &size) ||
        size % 4 != 0) {
        return fail(self, "a vector that is not base64 of float32 numbers");
    }
    status = check_dim(self, size / 4);
    if (status != RL_OK) {
        return status;
    }
    to = *self->into->values + row * *self->into->dim;
    for (size_t i = 0; i < *self->into->dim; i++, from += 4) {
        uint32_t bits = from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 |
                        (uint32_t)from[3] << 24;

        memcpy(to + i, &bits, sizeof bits);
        if (!isfinite(to[i])) {
            return fail(self, "a vector with NaN or an infinity in it");
        }
    }
    return RL_OK;
}

/* An array of numbers, from servers that ignore encoding_format. */
static rl_status read_numbers(reading *self, rl_json_value array, size_t row)
{
    rl_json_reader reader;
    rl_json_value none, item;
    rl_status status;
    size_t dim = 0;
    double number;
    float *to;

    rl_json_enter(&reader, array);
    while (rl_json_next(&reader, &none, &item)) {
        dim++;
    }
    status = check_dim(self, dim);
    if (status != RL_OK) {
        return status;
    }
    to = *self->into->values + row * dim;
    rl_json_enter(&reader, array);
    while (rl_json_next(&reader, &none, &item)) {
        if (!rl_json_number(item, &number)) {
            return fail(self, "a vector with an element that is not a number");
        }
        *to = (float)number;
        if (!isfinite(*to)) {
            return fail(self, "a vector with a number too large for float32");
        }
        to++;
    }
    return RL_OK;
}

/* The index of the text of a vector. */
static bool read_index(reading *self, rl_json_value item, size_t place, size_t *index)
{
    const rl_json_value value = rl_json_member(item, "index", 5);
    double number = (double)place; /* without an index the vectors are in order */
    bool valid = value.len == 0 || rl_json_number(value, &number);

    valid = valid && number >= 0 && number < (double)self->count &&
            (double)(size_t)number == number;
    *index = valid ? (size_t)number : 0;
    return valid && !self->seen[*index];
}

static rl_status read_item(reading *self, rl_json_value item, size_t place)
{
    const rl_json_value vector = rl_json_member(item, "embedding", 9);
    const rl_json_kind kind = rl_json_kind_of(vector);
    rl_status status;
    size_t index;

    if (!read_index(self, item, place, &index)) {
        return fail(self, "a vector whose \"index\" is out of range or repeated");
    }
    if (kind == RL_JSON_STRING) {
        status = read_base64(self, vector, self->into->first + index);
    } else if (kind == RL_JSON_ARRAY) {
        status = read_numbers(self, vector, self->into->first + index);
    } else {
        status = fail(self, "an element of \"data\" without \"embedding\"");
    }
    self->seen[index] = true;
    return status;
}

static rl_status read_data(reading *self, rl_json_value data)
{
    rl_json_reader reader;
    rl_json_value none, item;
    rl_status status = RL_OK;
    size_t place = 0;

    rl_json_enter(&reader, data);
    while (status == RL_OK && rl_json_next(&reader, &none, &item)) {
        if (place < self->count) {
            status = read_item(self, item, place);
        }
        place++;
    }
    if (status == RL_OK && place != self->count) {
        snprintf(self->why, RL_WHY, "%zu vectors for %zu texts", place, self->count);
        status = RL_SERVICE;
    }
    return status;
}

rl_status rl_openai_read_vectors(const rl_buf *body, size_t count,
                                 const rl_vectors_into *into, char why[RL_WHY])
{
    reading self = {.into = into, .count = count, .why = why};
    rl_json_value root, data = {NULL, 0};
    rl_status status;

    if (rl_json_read(body->data, body->len, &root)) {
        data = rl_json_member(root, "data", 4);
    }
    if (rl_json_kind_of(data) != RL_JSON_ARRAY) {
        return fail(&self, root.len == 0 ? "it is not JSON" : "it has no array \"data\"");
    }
    self.seen = rl_calloc(count, sizeof *self.seen);
    rl_buf_init(&self.bytes, RL_BUF_MAX);
    status = self.seen != NULL ? read_data(&self, data) : RL_NOMEM;
    rl_buf_free(&self.bytes);
    rl_free(self.seen);
    return status;
}

/* Where OpenAI and compatible servers put their message. */
static rl_json_value find_message(const rl_buf *body)
{
    static const char *const paths[] = {"error.message", "error", "message", "detail"};
    rl_json_value root, found = {NULL, 0};

    if (rl_json_read(body->data, body->len, &root)) {
        for (size_t i = 0; i < sizeof paths / sizeof *paths && found.len == 0; i++) {
            found = rl_json_find(root, paths[i]);
            if (rl_json_kind_of(found) != RL_JSON_STRING) {
                found.len = 0;
            }
        }
    }
    return found;
}

bool rl_openai_read_message(const rl_buf *body, const char *const *secrets,
                            char said[RL_SAID])
{
    const rl_json_value message = find_message(body);
    bool read;
    rl_buf text;

    said[0] = '\0';
    if (message.len == 0) {
        return true;
    }
    rl_buf_init(&text, RL_BUF_MAX);
    (void)rl_json_unescape(message, &text);
    rl_buf_add_char(&text, '\0');
    if (!text.failed) {
        for (; *secrets != NULL; secrets++) {
            rl_hide(text.data, *secrets);
        }
        rl_printable(said, RL_SAID, text.data, strlen(text.data));
    }
    read = !text.failed;
    rl_buf_free(&text);
    return read;
}

bool rl_openai_is_quota(const rl_http_answer *answer)
{
    static const char quota[] = "insufficient_quota";
    const size_t len = sizeof quota - 1;
    rl_json_value root;

    return answer->status == 429 &&
           rl_json_read(answer->body.data, answer->body.len, &root) &&
           (rl_json_equals(rl_json_find(root, "error.code"), quota, len) ||
            rl_json_equals(rl_json_find(root, "error.type"), quota, len));
}
