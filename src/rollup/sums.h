/* What runs add up to: the figures of a block of time (runlog/rollup.py has what each
 * one means).
 *
 * Sums are filled by fold.c from runs, and by form.c from what is stored. All that grows
 * with what a program records is bounded, and what finds no room is counted.
 *
 * An addition that finds no memory sets `failed`, and later ones do nothing: look once, at
 * the end. Ownership: sums of zeros are empty, and own all that they point to, until
 * rl_sums_free. Not thread-safe.
 */
#ifndef RL_SUMS_H
#define RL_SUMS_H

#include "rollup/pool.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RL_SUMS_NODES 1000 /* with a name of their own; the rest are "other" */
#define RL_SUMS_KINDS 32   /* of tokens, of a node; as above */
#define RL_SUMS_FAILURES 64
#define RL_SUMS_PATHS 100
#define RL_SUMS_MODELS 50
#define RL_SUMS_EXAMPLES 3   /* runs of a failure */
#define RL_SUMS_NAME_MAX 200 /* bytes of a name; the rest is cut */
#define RL_SUMS_TEXT_MAX 240 /* bytes of a message */

typedef enum rl_ended {
    RL_ENDED_COMPLETED,
    RL_ENDED_FAILED,
    RL_ENDED_INTERRUPTED,
    RL_ENDED_CANCELLED,
    RL_ENDED_RUNNING,
    RL_ENDED_OTHER,
    RL_OUTCOMES,
} rl_ended;

typedef struct
    rl_string { /* borrowed, or of the pool; with a NUL behind it if of the pool */
    const char *text;
    size_t len;
} rl_string;

/* Values by size: how many are in a bucket (edges_table.h), in the order of buckets. */
typedef struct rl_histogram {
    struct rl_bucket {
        uint64_t count;
        unsigned place;
    } * buckets;
    size_t used, room;
    uint64_t total;
} rl_histogram;

typedef struct rl_kinds {
    struct rl_token_kind {
        rl_string name;
        uint64_t count;
    } * kinds;
    size_t used, room;
} rl_kinds;

typedef struct rl_figures {
    uint64_t outcomes[RL_OUTCOMES];
    uint64_t retries, retried, recovered, waited_us, llm_calls, tool_calls;
    rl_histogram durations, sizes;
    rl_kinds tokens;
    uint64_t repeats, slowest_us;
    rl_string repeated_in, slowest_in; /* {NULL, 0}: none */
} rl_figures;

typedef struct rl_node {
    struct rl_node *next; /* with the same hash */
    uint64_t hash;
    rl_string name;
    unsigned number; /* in the order in which a workflow's nodes were counted, from 0 */
    rl_figures figures;
    /* of the run that is being folded; see fold.c */
    uint64_t run, firsts, retries;
    int64_t failed_end;
} rl_node;

typedef struct rl_failure {
    uint64_t hash;
    rl_string error, node, text; /* node {NULL, 0}: none */
    uint64_t number;
    int64_t first, last;
    /* the newest first */
    struct rl_example {
        rl_string run;
        int64_t at;
    } examples[RL_SUMS_EXAMPLES];
} rl_failure;

typedef struct rl_way { /* runs that went through the same nodes */
    uint64_t hash, number;
    rl_string run;
} rl_way;

typedef struct rl_model {
    rl_string name;
    uint64_t calls;
    rl_kinds tokens;
} rl_model;

#define RL_SUMS_BUCKETS 256

typedef struct rl_sums {
    rl_figures run;
    rl_node **nodes; /* in the order of their numbers */
    size_t node_count, node_room;
    rl_node *buckets[RL_SUMS_BUCKETS];
    rl_model models[RL_SUMS_MODELS];
    size_t model_count;
    rl_failure *failures; /* room for RL_SUMS_FAILURES; NULL without any */
    size_t failure_count;
    rl_way *ways; /* room for RL_SUMS_PATHS, likewise */
    size_t way_count;
    uint64_t failures_left, ways_left, models_left;
    uint64_t folded; /* runs, by fold.c */
    bool failed;
    rl_pool pool;
} rl_sums;

void rl_sums_free(rl_sums *sums); /* the sums are empty then */

/* The bucket of a value. */
unsigned rl_histogram_place(uint64_t value);

/* Add so many values of one bucket; or, if `down`, take them away, as far as there are. */
void rl_sums_bucket(rl_sums *sums, rl_histogram *histogram, unsigned place,
                    uint64_t count, bool down);
void rl_sums_value(rl_sums *sums, rl_histogram *histogram, uint64_t value);
void rl_sums_tokens(rl_sums *sums, rl_kinds *tokens, rl_string name, uint64_t count,
                    bool down);

/* The node of a name, added if need be: that of "other" when there are too many. NULL
 * without memory. */
rl_node *rl_sums_node(rl_sums *sums, rl_string name);

/* The model of a name; NULL without room (`models_left` has that) or memory. */
rl_model *rl_sums_model(rl_sums *sums, rl_string name, uint64_t calls);

/* Adds failures of one kind. `more`: with its number and its examples; its texts are copied
 * if it is new. */
void rl_sums_failure(rl_sums *sums, const rl_failure *more, bool down);
void rl_sums_way(rl_sums *sums, const rl_way *more, bool down);

/* The greatest stays. */
void rl_sums_repeats(rl_sums *sums, rl_figures *figures, uint64_t repeats, rl_string run);
void rl_sums_slowest(rl_sums *sums, rl_figures *figures, uint64_t us, rl_string run);

static inline bool rl_text_equals(rl_string one, rl_string other)
{
    return one.len == other.len &&
           (one.len == 0 || __builtin_memcmp(one.text, other.text, one.len) == 0);
}

/* The longest prefix of UTF-8 text that has at most `max` bytes and ends between two
 * characters. */
size_t rl_text_prefix(const char *text, size_t len, size_t max);

/* Adds, or takes away as far as there is. No sum passes UINT64_MAX. */
static inline uint64_t rl_moved(uint64_t from, uint64_t by, bool down)
{
    return down ? (from > by ? from - by : 0)
                : (from > UINT64_MAX - by ? UINT64_MAX : from + by);
}

#endif
