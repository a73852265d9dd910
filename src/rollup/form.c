/* The stored form of sums. See form.h.
 *
 * A text is its length times two, and its bytes; or 1 and the 16 bytes of a UUID; or 3 and
 * the number of a usual name. Optional texts are 0 for none, or 1 and the text.
 */
#include "rollup/form.h"

#include "core/hash.h"
#include "core/uuid.h"
#include "rollup/edges_table.h"

#include <string.h>

static const char *const usual[] = {
    "input", "output", "total", "input_details.cache_read", "output_details.reasoning"};
#define USUAL (sizeof usual / sizeof *usual)
#define HEADER (1 + sizeof(uint32_t)) /* the version, and a checksum of the rest */
#define UUID_LENGTH (RL_UUID_TEXT - 1)

/* ---- writing --------------------------------------------------------------------- */

static void put(rl_buf *out, uint64_t number)
{
    while (number >= 0x80) {
        rl_buf_add_char(out, (char)(number | 0x80));
        number >>= 7;
    }
    rl_buf_add_char(out, (char)number);
}

static void put_signed(rl_buf *out, int64_t number)
{
    put(out, ((uint64_t)number << 1) ^ (number < 0 ? UINT64_MAX : 0));
}

static void put_text(rl_buf *out, rl_string text)
{
    char copy[RL_UUID_TEXT];
    uint8_t id[16];

    for (size_t i = 0; i < USUAL; i++) {
        if (text.len == strlen(usual[i]) && memcmp(text.text, usual[i], text.len) == 0) {
            put(out, 3);
            put(out, i);
            return;
        }
    }
    if (text.len == UUID_LENGTH) {
        memcpy(copy, text.text, UUID_LENGTH);
        copy[UUID_LENGTH] = '\0';
        if (rl_uuid_parse(copy, id)) {
            put(out, 1);
            rl_buf_add(out, id, sizeof id);
            return;
        }
    }
    put(out, (uint64_t)text.len << 1);
    rl_buf_add(out, text.text, text.len);
}

static void put_optional(rl_buf *out, rl_string text)
{
    put(out, text.text != NULL);
    if (text.text != NULL) {
        put_text(out, text);
    }
}

static void put_histogram(rl_buf *out, const rl_histogram *histogram)
{
    size_t count = 0;
    unsigned before = 0;

    for (size_t i = 0; i < histogram->used; i++) {
        count += histogram->buckets[i].count > 0;
    }
    put(out, count);
    for (size_t i = 0; i < histogram->used; i++) {
        if (histogram->buckets[i].count > 0) {
            put(out, histogram->buckets[i].place - before);
            put(out, histogram->buckets[i].count);
            before = histogram->buckets[i].place;
        }
    }
    put(out, histogram->total);
}

static void put_tokens(rl_buf *out, const rl_kinds *tokens)
{
    put(out, tokens->used);
    for (size_t i = 0; i < tokens->used; i++) {
        put_text(out, tokens->kinds[i].name);
        put(out, tokens->kinds[i].count);
    }
}

static void put_figures(rl_buf *out, const rl_figures *figures)
{
    for (size_t i = 0; i < RL_OUTCOMES; i++) {
        put(out, figures->outcomes[i]);
    }
    put(out, figures->retries);
    put(out, figures->retried);
    put(out, figures->recovered);
    put(out, figures->waited_us);
    put(out, figures->llm_calls);
    put(out, figures->tool_calls);
    put_histogram(out, &figures->durations);
    put_histogram(out, &figures->sizes);
    put_tokens(out, &figures->tokens);
    put(out, figures->repeats);
    put_optional(out, figures->repeated_in);
    put(out, figures->slowest_us);
    put_optional(out, figures->slowest_in);
}

static bool has_figures(const rl_figures *figures)
{
    uint64_t any = figures->repeats | figures->slowest_us | figures->waited_us |
                   figures->llm_calls | figures->tool_calls | figures->sizes.total;

    for (size_t i = 0; i < RL_OUTCOMES; i++) {
        any |= figures->outcomes[i];
    }
    return any != 0;
}

static void put_nodes(rl_buf *out, const rl_sums *sums)
{
    size_t count = 0;

    for (size_t i = 0; i < sums->node_count; i++) {
        count += has_figures(&sums->nodes[i]->figures);
    }
    put(out, count);
    for (size_t i = 0; i < sums->node_count; i++) {
        const rl_node *node = sums->nodes[i];

        if (has_figures(&node->figures)) {
            put(out, node->number);
            put_text(out, node->name);
            put_figures(out, &node->figures);
        }
    }
}

static void put_failures(rl_buf *out, const rl_sums *sums)
{
    size_t count = 0;

    for (size_t i = 0; i < sums->failure_count; i++) {
        count += sums->failures[i].number > 0;
    }
    put(out, count);
    for (size_t i = 0; i < sums->failure_count; i++) {
        const rl_failure *failure = &sums->failures[i];

        if (failure->number == 0) {
            continue;
        }
        put_text(out, failure->error);
        put_optional(out, failure->node);
        put_text(out, failure->text);
        put(out, failure->number);
        put_signed(out, failure->first);
        put(out, (uint64_t)failure->last - (uint64_t)failure->first);
        for (size_t at = 0; at < RL_SUMS_EXAMPLES; at++) {
            put_optional(out, failure->examples[at].run);
            if (failure->examples[at].run.text != NULL) {
                put_signed(out, failure->examples[at].at);
            }
        }
    }
    put(out, sums->failures_left);
}

static void put_ways(rl_buf *out, const rl_sums *sums)
{
    size_t count = 0;

    for (size_t i = 0; i < sums->way_count; i++) {
        count += sums->ways[i].number > 0;
    }
    put(out, count);
    for (size_t i = 0; i < sums->way_count; i++) {
        if (sums->ways[i].number > 0) {
            rl_buf_add(out, &sums->ways[i].hash, sizeof sums->ways[i].hash);
            put(out, sums->ways[i].number);
            put_text(out, sums->ways[i].run);
        }
    }
    put(out, sums->ways_left);
}

static bool has_tokens(const rl_kinds *tokens)
{
    uint64_t any = 0;

    for (size_t i = 0; i < tokens->used; i++) {
        any |= tokens->kinds[i].count;
    }
    return any != 0;
}

static void put_models(rl_buf *out, const rl_sums *sums)
{
    size_t count = 0;

    for (size_t i = 0; i < sums->model_count; i++) {
        count += sums->models[i].calls > 0 || has_tokens(&sums->models[i].tokens);
    }
    put(out, count);
    for (size_t i = 0; i < sums->model_count; i++) {
        const rl_model *model = &sums->models[i];

        if (model->calls > 0 || has_tokens(&model->tokens)) {
            put_text(out, model->name);
            put(out, model->calls);
            put_tokens(out, &model->tokens);
        }
    }
    put(out, sums->models_left);
}

/* A checksum of the bytes behind the first five. */
static uint32_t check_of(const void *data, size_t len)
{
    const uint64_t hash = rl_hash((const char *)data + HEADER, len - HEADER);

    return (uint32_t)(hash ^ hash >> 32);
}

void rl_form_seal(void *data, size_t len)
{
    const uint32_t check = check_of(data, len);

    memcpy((char *)data + 1, &check, sizeof check);
}

void rl_form_write(const rl_sums *sums, rl_buf *out)
{
    const size_t at = out->len;
    const uint32_t none = 0;

    rl_buf_add_char(out, RL_FORM_VERSION);
    rl_buf_add(out, &none, sizeof none);
    put_figures(out, &sums->run);
    put_nodes(out, sums);
    put_models(out, sums);
    put_failures(out, sums);
    put_ways(out, sums);
    if (!out->failed) {
        rl_form_seal(out->data + at, out->len - at);
    }
}

/* ---- reading --------------------------------------------------------------------- */

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
            text = (rl_string){copy, UUID_LENGTH};
        }
    } else if (tag == 3) {
        const uint64_t number = get(in);

        in->damaged |= number >= USUAL;
        if (!in->damaged) {
            text = (rl_string){usual[number], strlen(usual[number])};
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
    in.at = (const unsigned char *)data + HEADER;
    in.end = (const unsigned char *)data + len;
    in.damaged = len < HEADER || *(const char *)data != RL_FORM_VERSION;
    if (!in.damaged) {
        memcpy(&check, (const char *)data + 1, sizeof check);
        in.damaged = check != check_of(data, len);
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
