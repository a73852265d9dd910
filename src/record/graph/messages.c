/* Prompts, of which each message is stored once a run. See graph_state.h.
 *
 * A prompt is mostly the one before, with a few messages more. So a run numbers its
 * messages as they first occur, and a prompt is stored as
 *
 *     {"first": 4, "new": [...], "from": [[1], [7, 0, 2], [5, 0, 0, 1]],
 *      "$messages": [[0, 8]]}
 *
 * "$messages" has the ranges of numbers that it is made of, each without its end. The
 * messages that no prompt had yet have the numbers from "first" on, in the order of the
 * prompt. "from" says where these are, one run after the other: [count] are the next in
 * "new"; [node, index, count] are in the "messages" of a node's inputs as they are stored (of
 * a delta, those that it appends or sets); [node, call, index, count] are among the outputs
 * of a call. Without "from" all are in "new". Empty members are left out.
 * Messages are compared by a hash of their JSON (value.h).
 */
#include "core/alloc.h"
#include "record/graph/graph_json.h"
#include "record/graph/graph_state.h"

#include <stdio.h>
#include <string.h>

static void hash_messages(rl_prompt *prompt, const rl_buf *elements)
{
    const rl_element *list = (const rl_element *)(const void *)elements->data;

    for (size_t i = 0; i < elements->len / sizeof *list; i++) {
        rl_asked piece = {.at = list[i].at, .len = list[i].len};

        rl_value_hash(prompt->text.data + piece.at, piece.len, piece.hash);
        rl_buf_add(&prompt->pieces, &piece, sizeof piece);
    }
    if (prompt->pieces.failed) {
        rl_buf_free(&prompt->pieces);
    }
}

void rl_prompt_split(rl_prompt *prompt)
{
    rl_buf elements;

    prompt->pieces.len = 0;
    if (prompt->elements.len > 0 && !prompt->elements.failed) {
        hash_messages(prompt, &prompt->elements);
        return;
    }
    rl_buf_init(&elements, RL_BUF_MAX);
    if (rl_array_split(prompt->text.data, prompt->text.len, &elements)) {
        hash_messages(prompt, &elements);
    }
    rl_buf_free(&elements);
}

static rl_message *find(const rl_graph *graph, const uint64_t hash[2])
{
    rl_link *link = rl_table_first(&graph->messages, hash[0]);

    while (link != NULL && ((rl_message *)link)->hash[1] != hash[1]) {
        link = rl_table_next(link);
    }
    return (rl_message *)link;
}

/* Adds a message; NULL when there is no memory. */
static rl_message *add(rl_graph *graph, const uint64_t hash[2])
{
    rl_message *message = rl_calloc(1, sizeof *message);

    if (message == NULL || !rl_table_add(&graph->messages, &message->link, hash[0])) {
        rl_free(message);
        graph->arena.failed = true;
        return NULL;
    }
    memcpy(message->hash, hash, sizeof message->hash);
    message->number = -1;
    message->node = -1;
    message->call = -1;
    graph->extra += sizeof *message;
    return message;
}

/* A member of an object; no text if there is none. */
static rl_text member(rl_text object, const char *key)
{
    rl_text value = {NULL, 0};
    rl_buf members;

    rl_buf_init(&members, RL_BUF_MAX);
    if (object.data != NULL && rl_object_split(object.data, object.len, &members)) {
        const rl_member *list = (const rl_member *)(const void *)members.data;

        for (size_t i = 0; i < members.len / sizeof *list; i++) {
            if (list[i].key_len == strlen(key) + 2 &&
                memcmp(object.data + list[i].key_at + 1, key, strlen(key)) == 0) {
                value = (rl_text){object.data + list[i].value_at, list[i].value_len};
            }
        }
    }
    rl_buf_free(&members);
    return value;
}

/* The messages of a node's inputs, as they are stored. */
static rl_text messages_of(const rl_graph *graph, const rl_node *node)
{
    rl_text inputs = rl_graph_text(graph, node->inputs), found;

    if (!node->is_delta) {
        return member(inputs, "messages");
    }
    found = member(member(inputs, "append"), "messages");
    return found.data != NULL ? found : member(member(inputs, "set"), "messages");
}

/* Makes the messages of an array known: those of a node's inputs, or the answers of a call
 * (else -1). */
static void offer(rl_graph *graph, rl_text messages, int64_t node, int64_t call)
{
    rl_prompt given = {.text = messages};
    const rl_asked *pieces;

    if (messages.data == NULL) {
        return;
    }
    rl_buf_init(&given.pieces, RL_BUF_MAX);
    rl_prompt_split(&given);
    pieces = (const rl_asked *)(const void *)given.pieces.data;
    for (size_t i = 0; i < given.pieces.len / sizeof *pieces; i++) {
        rl_message *message =
            find(graph, pieces[i].hash) == NULL ? add(graph, pieces[i].hash) : NULL;

        if (message != NULL) {
            message->node = node;
            message->call = call;
            message->at = (int64_t)i;
        }
    }
    rl_buf_free(&given.pieces);
}

void rl_graph_offer_answers(rl_graph *graph, const rl_node *log)
{
    if (graph->calls == RL_CALLS_DELTA && log->kind == RL_LOG_LLM) {
        offer(graph, rl_graph_text(graph, log->outputs), log->of, log->at);
    }
}

/* The pieces of a prompt. */
typedef struct asking {
    rl_graph *graph;
    const char *text;
    rl_asked *pieces;
    size_t count;
    size_t counts[3]; /* of pieces, by what they are */
    rl_json json;
} asking;

/* What a message is to its prompt. */
enum {
    NUMBERED, /* an earlier prompt had it */
    NEW,
    BORROWED, /* it is new here, and stands in a node's inputs or in an answer */
};

/* Gives numbers to those that have none. */
static void number(asking *self)
{
    for (size_t i = 0; i < self->count; i++) {
        rl_asked *piece = &self->pieces[i];

        piece->known = find(self->graph, piece->hash);
        piece->is = piece->known == NULL       ? NEW
                    : piece->known->number < 0 ? BORROWED
                                               : NUMBERED;
        if (piece->is == NEW) {
            piece->known = add(self->graph, piece->hash);
        }
        if (piece->is != NUMBERED && piece->known != NULL) {
            piece->known->number = self->graph->next_message++;
        }
        self->counts[piece->is]++;
    }
}

static void put_new(asking *self)
{
    char mark[48];

    rl_put_key(&self->json, "new");
    rl_json_open(&self->json, '[');
    for (size_t i = 0; i < self->count; i++) {
        rl_text text = {self->text + self->pieces[i].at, self->pieces[i].len};

        if (self->pieces[i].is != NEW) {
            continue;
        }
        if (!rl_graph_has_room(self->graph, text.len)) {
            text.len =
                (size_t)snprintf(mark, sizeof mark, "\"<cut: %zu bytes>\"", text.len);
            text.data = mark;
        }
        rl_put_raw(&self->json, text);
        self->graph->payload_bytes += text.len;
    }
    rl_json_close(&self->json);
}

/* The number of pieces from `at` on that are a run: new ones, or such that stand side by
 * side where they are borrowed from. */
static size_t run_of(const asking *self, size_t at)
{
    const rl_asked *first = &self->pieces[at];
    size_t count = 1;

    while (at + count < self->count) {
        const rl_asked *piece = &self->pieces[at + count];
        bool same = piece->is == first->is;

        if (same && piece->is == BORROWED) {
            same = piece->known->node == first->known->node &&
                   piece->known->call == first->known->call &&
                   piece->known->at == first->known->at + (int64_t)count;
        }
        if (!same) {
            break;
        }
        count++;
    }
    return count;
}

/* Writes where the messages are that got their numbers here. */
static void put_from(asking *self)
{
    rl_json *json = &self->json;
    size_t count;

    rl_put_key(json, "from");
    rl_json_open(json, '[');
    for (size_t i = 0; i < self->count; i += count) {
        const rl_message *message = self->pieces[i].known;

        count = 1;
        if (self->pieces[i].is == NUMBERED) {
            continue;
        }
        count = run_of(self, i);
        rl_json_open(json, '[');
        if (self->pieces[i].is == BORROWED) {
            rl_json_int(json, message->node);
            if (message->call >= 0) {
                rl_json_int(json, message->call);
            }
            rl_json_int(json, message->at);
        }
        rl_json_int(json, (int64_t)count);
        rl_json_close(json);
    }
    rl_json_close(json);
}

static void put_ranges(asking *self)
{
    rl_json *json = &self->json;
    int64_t from = -1, to = -1;

    rl_put_key(json, "$messages");
    rl_json_open(json, '[');
    for (size_t i = 0; i <= self->count; i++) {
        int64_t number = i < self->count && self->pieces[i].known != NULL
                             ? self->pieces[i].known->number
                             : -1;

        if (from >= 0 && number != to) {
            rl_json_open(json, '[');
            rl_json_int(json, from);
            rl_json_int(json, to);
            rl_json_close(json);
        }
        if (from < 0 || number != to) {
            from = number;
        }
        to = number + 1;
    }
    rl_json_close(json);
}

rl_slice rl_graph_put_prompt(rl_graph *graph, ptrdiff_t place, const rl_prompt *prompt)
{
    asking self = {.graph = graph,
                   .text = prompt->text.data,
                   .pieces = (rl_asked *)(void *)prompt->pieces.data,
                   .count = prompt->pieces.len / sizeof(rl_asked)};
    rl_slice slice = {graph->arena.len, 0, false};
    int64_t first = graph->next_message;
    rl_node *node;

    if (self.count == 0 || graph->calls != RL_CALLS_DELTA) {
        return rl_graph_copy_payload(graph, prompt->text);
    }
    node = rl_graph_node(graph, place);
    if (!node->is_offered) { /* once a node */
        node->is_offered = true;
        offer(graph, messages_of(graph, node), node->number, -1);
    }
    number(&self);
    rl_json_begin(&self.json, &graph->arena, RL_BUF_MAX);
    rl_json_open(&self.json, '{');
    if (self.counts[NEW] + self.counts[BORROWED] > 0) {
        rl_put_int(&self.json, "first", first);
    }
    if (self.counts[NEW] > 0) {
        put_new(&self);
    }
    if (self.counts[BORROWED] > 0) {
        put_from(&self);
    }
    put_ranges(&self);
    rl_json_close(&self.json);
    rl_json_end(&self.json);
    slice.len = graph->arena.len - slice.at;
    slice.given = !graph->arena.failed;
    return slice;
}

void rl_graph_forget_messages(rl_graph *graph)
{
    rl_link *link;
    size_t at = 0;

    while ((link = rl_table_any(&graph->messages, &at)) != NULL) {
        rl_table_remove(&graph->messages, link);
        graph->extra -= sizeof(rl_message);
        rl_free(link);
    }
}
