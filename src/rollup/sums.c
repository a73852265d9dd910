/* What runs add up to. See sums.h. */
#include "rollup/sums.h"

#include "core/alloc.h"
#include "core/hash.h"
#include "rollup/edges_table.h"

#include <string.h>

static const rl_string other = {"other", 5};

void rl_sums_free(rl_sums *sums)
{
    rl_pool_free(&sums->pool);
    memset(sums, 0, sizeof *sums);
}

/* Memory of the pool; NULL sets `failed`. */
static void *take(rl_sums *sums, size_t size)
{
    void *taken = sums->failed ? NULL : rl_pool_take(&sums->pool, size);

    sums->failed = taken == NULL;
    return taken;
}

static rl_string keep(rl_sums *sums, rl_string text)
{
    char *copy = sums->failed ? NULL : rl_pool_text(&sums->pool, text.text, text.len);

    sums->failed = copy == NULL;
    return (rl_string){copy, copy != NULL ? text.len : 0};
}

/* Room for one more element of an array of the pool. */
static bool grow(rl_sums *sums, void *array_at, size_t used, size_t *room, size_t size)
{
    void *array, *larger;
    size_t wanted;

    if (used < *room) {
        return true;
    }
    wanted = *room > 0 ? 2 * *room : 8;
    larger = take(sums, wanted * size);
    if (larger == NULL) {
        return false;
    }
    memcpy(&array, array_at, sizeof array);
    if (used > 0) {
        memcpy(larger, array, used * size);
    }
    memcpy(array_at, &larger, sizeof larger);
    *room = wanted;
    return true;
}

size_t rl_text_prefix(const char *text, size_t len, size_t max)
{
    if (len > max) {
        len = max;
        while (len > 0 && ((unsigned char)text[len] & 0xC0) == 0x80) {
            len--;
        }
    }
    return len;
}

unsigned rl_histogram_place(uint64_t value)
{
    unsigned low = 0, high = RL_EDGES - 1;

    while (low < high) { /* the first whose bound is not below the value */
        const unsigned middle = (low + high) / 2;

        if (rl_edges[middle] < value) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

void rl_sums_bucket(rl_sums *sums, rl_histogram *histogram, unsigned place,
                    uint64_t count, bool down)
{
    size_t low = 0, high = histogram->used;
    bool there;

    while (low < high) {
        const size_t middle = (low + high) / 2;

        if (histogram->buckets[middle].place < place) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    there = low < histogram->used && histogram->buckets[low].place == place;
    if (there) {
        histogram->buckets[low].count =
            rl_moved(histogram->buckets[low].count, count, down);
    } else if (!down && grow(sums, &histogram->buckets, histogram->used, &histogram->room,
                             sizeof *histogram->buckets)) {
        memmove(histogram->buckets + low + 1, histogram->buckets + low,
                (histogram->used - low) * sizeof *histogram->buckets);
        histogram->buckets[low].place = place;
        histogram->buckets[low].count = count;
        histogram->used++;
    }
}

void rl_sums_value(rl_sums *sums, rl_histogram *histogram, uint64_t value)
{
    rl_sums_bucket(sums, histogram, rl_histogram_place(value), 1, false);
    histogram->total = rl_moved(histogram->total, value, false);
}

void rl_sums_tokens(rl_sums *sums, rl_kinds *tokens, rl_string name, uint64_t count,
                    bool down)
{
    struct rl_token_kind *kind = NULL;

    for (size_t i = 0; i < tokens->used && kind == NULL; i++) {
        if (rl_text_equals(tokens->kinds[i].name, name)) {
            kind = &tokens->kinds[i];
        }
    }
    if (kind == NULL && !down && tokens->used >= RL_SUMS_KINDS - 1 &&
        !rl_text_equals(name, other)) {
        rl_sums_tokens(sums, tokens, other, count, down);
    } else if (kind != NULL) {
        kind->count = rl_moved(kind->count, count, down);
    } else if (!down && grow(sums, &tokens->kinds, tokens->used, &tokens->room,
                             sizeof *tokens->kinds)) {
        kind = &tokens->kinds[tokens->used++];
        kind->name = keep(sums, name);
        kind->count = count;
    }
}

static rl_node *find_node(rl_sums *sums, rl_string name, uint64_t hash)
{
    rl_node *node = sums->buckets[hash % RL_SUMS_BUCKETS];

    while (node != NULL && (node->hash != hash || !rl_text_equals(node->name, name))) {
        node = node->next;
    }
    return node;
}

rl_node *rl_sums_node(rl_sums *sums, rl_string name)
{
    uint64_t hash;
    rl_node *node;

    name.len = rl_text_prefix(name.text, name.len, RL_SUMS_NAME_MAX);
    hash = rl_hash(name.text, name.len);
    node = find_node(sums, name, hash);
    if (node == NULL && sums->node_count >= RL_SUMS_NODES) {
        name = other;
        hash = rl_hash(name.text, name.len);
        node = find_node(sums, name, hash);
    }
    if (node == NULL && grow(sums, &sums->nodes, sums->node_count, &sums->node_room,
                             sizeof *sums->nodes)) {
        node = take(sums, sizeof *node);
        if (node != NULL) {
            node->hash = hash;
            node->name = keep(sums, name);
            node->number = (unsigned)sums->node_count;
            node->next = sums->buckets[hash % RL_SUMS_BUCKETS];
            sums->buckets[hash % RL_SUMS_BUCKETS] = node;
            sums->nodes[sums->node_count++] = node;
        }
    }
    return sums->failed ? NULL : node;
}

rl_model *rl_sums_model(rl_sums *sums, rl_string name, uint64_t calls)
{
    rl_model *model = NULL;

    name.len = rl_text_prefix(name.text, name.len, RL_SUMS_NAME_MAX);
    for (size_t i = 0; i < sums->model_count && model == NULL; i++) {
        if (rl_text_equals(sums->models[i].name, name)) {
            model = &sums->models[i];
        }
    }
    if (model == NULL && sums->model_count < RL_SUMS_MODELS) {
        model = &sums->models[sums->model_count++];
        model->name = keep(sums, name);
    } else if (model == NULL) {
        sums->models_left = rl_moved(sums->models_left, calls, false);
    }
    return sums->failed ? NULL : model;
}

/* FNV-1a of the parts of a failure, where runs of digits are one mark. */
static uint64_t hash_failure(const rl_failure *failure)
{
    const rl_string *parts[] = {&failure->error, &failure->node, &failure->text};
    uint64_t hash = UINT64_C(14695981039346656037);

    for (size_t i = 0; i < 3; i++) {
        const bool masked = i == 2;
        bool in_digits = false;

        for (size_t at = 0; at < parts[i]->len; at++) {
            const char c = parts[i]->text[at];
            const bool digit = masked && c >= '0' && c <= '9';

            if (!digit || !in_digits) {
                hash =
                    (hash ^ (unsigned char)(digit ? '0' : c)) * UINT64_C(1099511628211);
            }
            in_digits = digit;
        }
        hash = (hash ^ (0x100 | i)) * UINT64_C(1099511628211);
    }
    return parts[1]->text == NULL ? hash ^ 1 : hash;
}

/* Keeps the newest examples: of one time, the one that came first. */
static void add_example(rl_sums *sums, rl_failure *failure, const struct rl_example *more)
{
    size_t at = 0;

    while (at < RL_SUMS_EXAMPLES && failure->examples[at].run.text != NULL &&
           failure->examples[at].at >= more->at) {
        at++;
    }
    if (at < RL_SUMS_EXAMPLES && more->run.text != NULL) {
        memmove(failure->examples + at + 1, failure->examples + at,
                (RL_SUMS_EXAMPLES - at - 1) * sizeof *more);
        failure->examples[at].run = keep(sums, more->run);
        failure->examples[at].at = more->at;
    }
}

static rl_failure *add_failure(rl_sums *sums, const rl_failure *more, uint64_t hash)
{
    rl_failure *failure = NULL;

    if (sums->failures == NULL) {
        sums->failures = take(sums, RL_SUMS_FAILURES * sizeof *failure);
    }
    if (sums->failures != NULL) {
        failure = &sums->failures[sums->failure_count++];
        failure->hash = hash;
        failure->error = keep(sums, more->error);
        failure->text = keep(sums, more->text);
        if (more->node.text != NULL) {
            failure->node = keep(sums, more->node);
        }
        failure->first = more->first;
        failure->last = more->last;
    }
    return failure;
}

void rl_sums_failure(rl_sums *sums, const rl_failure *more, bool down)
{
    const uint64_t hash = hash_failure(more);
    rl_failure *failure = NULL;

    for (size_t i = 0; i < sums->failure_count && failure == NULL; i++) {
        if (sums->failures[i].hash == hash) {
            failure = &sums->failures[i];
        }
    }
    if (down) {
        if (failure != NULL) {
            failure->number = rl_moved(failure->number, more->number, true);
        }
        return;
    }
    if (failure == NULL && sums->failure_count == RL_SUMS_FAILURES) {
        sums->failures_left = rl_moved(sums->failures_left, more->number, false);
        return;
    }
    failure = failure != NULL ? failure : add_failure(sums, more, hash);
    if (failure != NULL) {
        failure->number = rl_moved(failure->number, more->number, false);
        failure->first = more->first < failure->first ? more->first : failure->first;
        failure->last = more->last > failure->last ? more->last : failure->last;
        for (size_t i = 0; i < RL_SUMS_EXAMPLES; i++) {
            add_example(sums, failure, &more->examples[i]);
        }
    }
}

void rl_sums_way(rl_sums *sums, const rl_way *more, bool down)
{
    rl_way *way = NULL;

    for (size_t i = 0; i < sums->way_count && way == NULL; i++) {
        if (sums->ways[i].hash == more->hash) {
            way = &sums->ways[i];
        }
    }
    if (way != NULL) {
        way->number = rl_moved(way->number, more->number, down);
    } else if (!down && sums->way_count == RL_SUMS_PATHS) {
        sums->ways_left = rl_moved(sums->ways_left, more->number, false);
    } else if (!down) {
        if (sums->ways == NULL) {
            sums->ways = take(sums, RL_SUMS_PATHS * sizeof *way);
        }
        if (sums->ways != NULL) {
            way = &sums->ways[sums->way_count++];
            way->hash = more->hash;
            way->number = more->number;
            way->run = keep(sums, more->run);
        }
    }
}

void rl_sums_repeats(rl_sums *sums, rl_figures *figures, uint64_t repeats, rl_string run)
{
    if (repeats > figures->repeats) {
        figures->repeats = repeats;
        figures->repeated_in = run.text != NULL ? keep(sums, run) : run;
    }
}

void rl_sums_slowest(rl_sums *sums, rl_figures *figures, uint64_t us, rl_string run)
{
    if (us > figures->slowest_us) {
        figures->slowest_us = us;
        figures->slowest_in = run.text != NULL ? keep(sums, run) : run;
    }
}
