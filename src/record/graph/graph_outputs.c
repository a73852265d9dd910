/* What calls returned, as JSON. See graph_state.h.
 *
 * It is mostly what the node of the call returns. Then the call has only its place:
 * "output_at" or, of a model's answers, "outputs_at" have paths in the node's outputs.
 *
 * A message has neither an id nor, often, a name when its call returns; LangGraph and its
 * agents put them in before the node ends. "output_late" or "outputs_late" list the members
 * that were null in what the call returned.
 */
#include "core/split.h"
#include "record/graph/graph_json.h"
#include "record/graph/graph_state.h"

#define PLACE_MIN ((size_t)128) /* bytes of an output that is worth a path */

/* The members that messages get late. */
static const char *const late_names[] = {"\"name\"", "\"id\""};

enum {
    LATE_NAMES = sizeof late_names / sizeof *late_names
};

/* The members of one output that are null, in their order. */
typedef struct late_members {
    const char *name[LATE_NAMES]; /* with quotes */
    size_t at[LATE_NAMES];        /* where the null begins */
    size_t count;
} late_members;

static void find_late(rl_text output, late_members *late)
{
    rl_buf members;
    const rl_member *list;

    late->count = 0;
    rl_buf_init(&members, RL_BUF_MAX);
    if (rl_object_split(output.data, output.len, &members)) {
        list = (const rl_member *)(const void *)members.data;
        for (size_t i = 0; i < members.len / sizeof *list; i++) {
            for (size_t n = 0; n < LATE_NAMES && late->count < LATE_NAMES; n++) {
                if (list[i].key_len == strlen(late_names[n]) &&
                    memcmp(output.data + list[i].key_at, late_names[n],
                           list[i].key_len) == 0 &&
                    list[i].value_len == 4 && output.data[list[i].value_at] == 'n') {
                    late->name[late->count] = late_names[n];
                    late->at[late->count++] = list[i].value_at;
                }
            }
        }
    }
    rl_buf_free(&members);
}

/* The length of the text or the null at the beginning of JSON; 0 if it is neither. */
static size_t late_length(rl_text json)
{
    size_t len = 1;

    if (json.len >= 4 && memcmp(json.data, "null", 4) == 0) {
        return 4;
    }
    if (json.len == 0 || json.data[0] != '"') {
        return 0;
    }
    while (len < json.len && json.data[len] != '"') {
        len += json.data[len] == '\\' ? 2 : 1;
    }
    return len < json.len ? len + 1 : 0;
}

/* Whether the text begins with the output, but for members that were null. */
static bool begins_late(rl_text text, rl_text output, const late_members *late)
{
    size_t from = 0, to, len;

    for (size_t i = 0; i <= late->count; i++) {
        to = i < late->count ? late->at[i] : output.len;
        if (text.len < to - from ||
            memcmp(text.data, output.data + from, to - from) != 0) {
            return false;
        }
        text.data += to - from;
        text.len -= to - from;
        from = to + 4;
        len = i < late->count ? late_length(text) : 0;
        if (i < late->count && len == 0) {
            return false;
        }
        text.data += len;
        text.len -= len;
    }
    return true;
}

/* Where the output stands in the node's outputs, if not in the same bytes; or NULL. */
static const char *search_late(rl_text node, rl_text output, const late_members *late)
{
    const char *found = NULL, *at = node.data, *end = node.data + node.len;

    while (late->count > 0 && found == NULL && at != NULL) {
        at = memmem(at, (size_t)(end - at), output.data, late->at[0]);
        if (at != NULL && begins_late((rl_text){at, (size_t)(end - at)}, output, late)) {
            found = at;
        }
        at = at != NULL ? at + 1 : NULL;
    }
    return found;
}

/* Appends the path of an output within the outputs of its node, if it stands there.
 * late->count is 0 if it does in the same bytes. */
static bool put_place(rl_json *json, rl_text node, rl_text output, late_members *late)
{
    const char *found = NULL;
    bool done;

    late->count = 0;
    if (node.data != NULL && output.len >= PLACE_MIN) {
        found = memmem(node.data, node.len, output.data, output.len);
        if (found == NULL) {
            find_late(output, late);
            found = search_late(node, output, late);
        }
    }
    done = found != NULL &&
           rl_json_path(node.data, node.len, (size_t)(found - node.data), json->buf);
    if (done) {
        rl_buf_add_char(json->buf, ',');
    }
    return done;
}

/* Writes which members were null in what the call returned, if any. */
static void put_late(rl_json *json, const char *key, const late_members *late)
{
    if (late->count > 0) {
        rl_put_key(json, key);
        rl_json_open(json, '[');
        for (size_t i = 0; i < late->count; i++) {
            rl_json_raw(json, late->name[i], strlen(late->name[i]));
        }
        rl_json_close(json);
    }
}

static bool same_late(const late_members *a, const late_members *b)
{
    bool same = a->count == b->count;

    for (size_t i = 0; same && i < a->count; i++) {
        same = a->name[i] == b->name[i];
    }
    return same;
}

/* Writes the places of a model's answers, if the node's outputs have all of them, and all
 * got the same members late. */
static bool put_places(rl_json *json, rl_text node, rl_text answers)
{
    late_members late = {.count = 0}, other;
    const rl_element *list;
    rl_buf elements;
    size_t count;
    bool all = false;

    rl_buf_init(&elements, RL_BUF_MAX);
    if (node.data != NULL && rl_array_split(answers.data, answers.len, &elements)) {
        list = (const rl_element *)(const void *)elements.data;
        count = elements.len / sizeof *list;
        all = count > 0;
        rl_put_key(json, "outputs_at");
        rl_json_open(json, '[');
        for (size_t i = 0; i < count && all; i++) {
            rl_text answer = {answers.data + list[i].at, list[i].len};

            all = put_place(json, node, answer, i == 0 ? &late : &other) &&
                  (i == 0 || same_late(&late, &other));
        }
        rl_json_close(json);
        put_late(json, "outputs_late", &late);
    }
    rl_buf_free(&elements);
    return all;
}

void rl_graph_put_output(rl_json *json, rl_text node, rl_log_kind kind, rl_text output)
{
    late_members late;
    size_t at = json->buf->len;
    bool done = false;

    if (node.len < PLACE_MIN) {
        node.data = NULL;
    }
    if (kind == RL_LOG_LLM) {
        done = put_places(json, node, output);
    } else if (kind == RL_LOG_TOOL) {
        rl_put_key(json, "output_at");
        done = put_place(json, node, output, &late);
        put_late(json, "output_late", &late);
    }
    if (!done) {
        json->buf->len = at;
        rl_put_key(json, kind == RL_LOG_LLM    ? "outputs"
                         : kind == RL_LOG_TOOL ? "output"
                                               : "documents");
        rl_put_raw(json, output);
    }
}
