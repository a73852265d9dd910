/* Writes the stored form of sums. See form.h. */
#include "rollup/form.h"

#include "core/hash.h"
#include "core/uuid.h"
#include "rollup/form_layout.h"

#include <string.h>

const char *const rl_form_usual[RL_FORM_USUAL] = {
    "input", "output", "total", "input_details.cache_read", "output_details.reasoning"};

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

    for (size_t i = 0; i < RL_FORM_USUAL; i++) {
        if (text.len == strlen(rl_form_usual[i]) &&
            memcmp(text.text, rl_form_usual[i], text.len) == 0) {
            put(out, 3);
            put(out, i);
            return;
        }
    }
    if (text.len == RL_FORM_UUID) {
        memcpy(copy, text.text, RL_FORM_UUID);
        copy[RL_FORM_UUID] = '\0';
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

uint32_t rl_form_check(const void *data, size_t len)
{
    const uint64_t hash =
        rl_hash((const char *)data + RL_FORM_HEADER, len - RL_FORM_HEADER);

    return (uint32_t)(hash ^ hash >> 32);
}

void rl_form_seal(void *data, size_t len)
{
    const uint32_t check = rl_form_check(data, len);

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
