/* Reads the stored form of sums. See form.h. */
#include "rollup/form.h"

#include "core/uuid.h"
#include "rollup/edges_table.h"
#include "rollup/form_layout.h"

#include <string.h>

typedef struct reader {
    rl_sums *sums;
    const unsigned char *at, *end;
    bool down, damaged;
    char ids[1 + RL_SUMS_EXAMPLES][RL_UUID_TEXT]; /* texts of UUIDs, until copied */
    unsigned next_id;
} reader;

static uint64_t get(reader *in)
{
    uint64_t number = 0;
    unsigned shift = 0;
    bool more = !in->damaged;

    while (more) {
        if (in->at == in->end || shift > 63) {
            in->damaged = true;
            return 0;
        }
        number |= (uint64_t)(*in->at & 0x7F) << shift;
        shift += 7;
        more = (*in->at++ & 0x80) != 0;
    }
    return number;
}

static int64_t get_signed(reader *in)
{
    const uint64_t number = get(in);

    return (int64_t)((number >> 1) ^ (0 - (number & 1)));
}

/* How many things follow, each of which takes at least a byte. */
static size_t get_count(reader *in, size_t most)
{
    const uint64_t count = get(in);

    in->damaged |= count > most || count > (uint64_t)(in->end - in->at);
    return in->damaged ? 0 : (size_t)count;
}

static const void *get_bytes(reader *in, uint64_t len)
{
    const unsigned char *bytes = in->at;

    in->damaged |= len > (uint64_t)(in->end - in->at);
    if (in->damaged) {
        return NULL;
    }
    in->at += len;
    return bytes;
}

static rl_string get_text(reader *in)
{
    const uint64_t tag = get(in);
    rl_string text = {"", 0};

    if (tag == 1) {
        const uint8_t *id = get_bytes(in, 16);
        char *copy = in->ids[in->next_id++ % (1 + RL_SUMS_EXAMPLES)];

        if (id != NULL) {
            rl_uuid_format(id, copy);
            text = (rl_string){copy, RL_FORM_UUID};
        }
    } else if (tag == 3) {
        const uint64_t number = get(in);

        in->damaged |= number >= RL_FORM_USUAL;
        if (!in->damaged) {
            text = (rl_string){rl_form_usual[number], strlen(rl_form_usual[number])};
        }
    } else {
        const char *bytes = get_bytes(in, tag >> 1);

        in->damaged |= (tag & 1) != 0;
        if (!in->damaged && tag > 0) {
            text = (rl_string){bytes, (size_t)(tag >> 1)};
        }
    }
    return text;
}

static rl_string get_optional(reader *in)
{
    return get(in) != 0 ? get_text(in) : (rl_string){NULL, 0};
}

static void move(reader *in, uint64_t *sum)
{
    *sum = rl_moved(*sum, get(in), in->down);
}

static void get_histogram(reader *in, rl_histogram *histogram)
{
    const size_t count = get_count(in, RL_EDGES);
    uint64_t place = 0;

    for (size_t i = 0; i < count && !in->damaged; i++) {
        const uint64_t step = get(in);
        const uint64_t number = get(in);

        place += step;
        in->damaged |= step >= RL_EDGES || place >= RL_EDGES;
        if (!in->damaged) {
            rl_sums_bucket(in->sums, histogram, (unsigned)place, number, in->down);
        }
    }
    move(in, &histogram->total);
}

static void get_tokens(reader *in, rl_kinds *tokens)
{
    const size_t count = get_count(in, RL_SUMS_KINDS);

    for (size_t i = 0; i < count && !in->damaged; i++) {
        const rl_string name = get_text(in);
        const uint64_t number = get(in);

        if (!in->damaged) {
            rl_sums_tokens(in->sums, tokens, name, number, in->down);
        }
    }
}

static void get_figures(reader *in, rl_figures *figures)
{
    uint64_t greatest;
    rl_string run;

    for (size_t i = 0; i < RL_OUTCOMES; i++) {
        move(in, &figures->outcomes[i]);
    }
    move(in, &figures->retries);
    move(in, &figures->retried);
    move(in, &figures->recovered);
    move(in, &figures->waited_us);
    move(in, &figures->llm_calls);
    move(in, &figures->tool_calls);
    get_histogram(in, &figures->durations);
    get_histogram(in, &figures->sizes);
    get_tokens(in, &figures->tokens);
    greatest = get(in);
    run = get_optional(in);
    if (!in->down && !in->damaged) {
        rl_sums_repeats(in->sums, figures, greatest, run);
    }
    greatest = get(in);
    run = get_optional(in);
    if (!in->down && !in->damaged) {
        rl_sums_slowest(in->sums, figures, greatest, run);
    }
}

static void get_nodes(reader *in)
{
    const size_t count = get_count(in, RL_SUMS_NODES + 1);

    for (size_t i = 0; i < count && !in->damaged && !in->sums->failed; i++) {
        const unsigned number = (unsigned)get(in);
        const rl_string name = get_text(in);
        const size_t known = in->sums->node_count;
        rl_node *node = in->damaged ? NULL : rl_sums_node(in->sums, name);

        if (node != NULL) {
            node->number = in->sums->node_count > known ? number : node->number;
            get_figures(in, &node->figures);
        }
    }
}

static void get_failures(reader *in)
{
    const size_t count = get_count(in, RL_SUMS_FAILURES);

    for (size_t i = 0; i < count && !in->damaged; i++) {
        rl_failure more = {.error = get_text(in)};

        more.node = get_optional(in);
        more.text = get_text(in);
        more.number = get(in);
        more.first = get_signed(in);
        more.last = (int64_t)((uint64_t)more.first + get(in));
        for (size_t at = 0; at < RL_SUMS_EXAMPLES; at++) {
            more.examples[at].run = get_optional(in);
            if (more.examples[at].run.text != NULL) {
                more.examples[at].at = get_signed(in);
            }
        }
        if (!in->damaged) {
            rl_sums_failure(in->sums, &more, in->down);
        }
    }
    move(in, &in->sums->failures_left);
}

static void get_ways(reader *in)
{
    const size_t count = get_count(in, RL_SUMS_PATHS);

    for (size_t i = 0; i < count && !in->damaged; i++) {
        const void *hash = get_bytes(in, sizeof(uint64_t));
        rl_way more = {0, 0, {NULL, 0}};

        if (hash != NULL) {
            memcpy(&more.hash, hash, sizeof more.hash);
        }
        more.number = get(in);
        more.run = get_text(in);
        if (!in->damaged) {
            rl_sums_way(in->sums, &more, in->down);
        }
    }
    move(in, &in->sums->ways_left);
}

static void get_models(reader *in)
{
    const size_t count = get_count(in, RL_SUMS_MODELS);

    for (size_t i = 0; i < count && !in->damaged && !in->sums->failed; i++) {
        const rl_string name = get_text(in);
        const uint64_t calls = get(in);
        rl_model *model = in->damaged ? NULL : rl_sums_model(in->sums, name, calls);
        rl_kinds none = {NULL, 0, 0};

        if (model != NULL) {
            model->calls = rl_moved(model->calls, calls, in->down);
        }
        get_tokens(in, model != NULL ? &model->tokens : &none);
    }
    move(in, &in->sums->models_left);
}

bool rl_form_read(rl_sums *sums, const void *data, size_t len, bool down)
{
    reader in = {.sums = sums, .down = down};
    uint32_t check;

    if (len == 0) {
        return true;
    }
    in.at = (const unsigned char *)data + RL_FORM_HEADER;
    in.end = (const unsigned char *)data + len;
    in.damaged = len < RL_FORM_HEADER || *(const char *)data != RL_FORM_VERSION;
    if (!in.damaged) {
        memcpy(&check, (const char *)data + 1, sizeof check);
        in.damaged = check != rl_form_check(data, len);
    }
    if (!in.damaged) {
        get_figures(&in, &sums->run);
        get_nodes(&in);
        get_models(&in);
        get_failures(&in);
        get_ways(&in);
    }
    return sums->failed || (!in.damaged && in.at == in.end);
}
