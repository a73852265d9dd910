/* Test of open runs that are written in pieces (record/graph/graph.h): whatever is
 * written and whatever leaves memory before the end, and whether commits fail or not, the
 * stored run is the one that is written once, at its end. A model of a store takes the
 * pieces. */
#include "record/graph/graph.h"

#include "check.h"
#include "failing.h"
#include "graph_help.h"
#include "json_valid.h"
#include "random.h"

#include <stdlib.h>

#define NAMES 400

/* A row with its parts. */
struct stored {
    char *columns[RL_COLUMNS];
    char *names[NAMES], *texts[NAMES];
    size_t count, bytes; /* bytes of parts that were written */
    size_t pieces;
};

static char *copied(const char *from, size_t len)
{
    char *to = malloc(len + 1);

    memcpy(to, from, len);
    to[len] = '\0';
    return to;
}

static void set_text(char **to, char *text)
{
    free(*to);
    *to = text;
}

static void put_part(struct stored *stored, char *name, char *text)
{
    size_t i = 0;

    while (i < stored->count && strcmp(stored->names[i], name) != 0) {
        i++;
    }
    if (i < stored->count) {
        free(name);
    } else if (i < NAMES) {
        stored->names[stored->count++] = name;
    }
    stored->bytes += strlen(text);
    set_text(&stored->texts[i], text);
}

static bool is_node(const char *name)
{
    return name[0] == 'n';
}

static void drop_nodes(struct stored *stored)
{
    size_t retained = 0;

    for (size_t i = 0; i < stored->count; i++) {
        char *name = stored->names[i], *part = stored->texts[i];

        stored->names[i] = NULL;
        stored->texts[i] = NULL;
        if (is_node(name)) {
            free(name);
            free(part);
        } else {
            stored->names[retained] = name;
            stored->texts[retained++] = part;
        }
    }
    stored->count = retained;
}

static const char *part_of(const struct stored *stored, const char *name)
{
    for (size_t i = 0; i < stored->count; i++) {
        if (strcmp(stored->names[i], name) == 0) {
            return stored->texts[i];
        }
    }
    return NULL;
}

/* All node parts as an array. */
static char *joined(const struct stored *stored)
{
    size_t size = 3, len = 1;
    char *all, name[24];

    for (size_t i = 0; i < stored->count; i++) {
        size += strlen(stored->texts[i]) + 1;
    }
    all = malloc(size);
    all[0] = '[';
    for (int i = 0; snprintf(name, sizeof name, "n%010d", i), part_of(stored, name);
         i++) {
        len += (size_t)snprintf(all + len, size - len, "%s%s", i > 0 ? "," : "",
                                part_of(stored, name));
    }
    snprintf(all + len, size - len, "]");
    return all;
}

static void add_parts(struct stored *stored, const rl_run *run)
{
    const char *text = run->arena.data + run->parts.at;
    const rl_member *found;
    rl_buf members;

    rl_buf_init(&members, RL_BUF_MAX);
    CHECK(is_json(text, run->parts.len));
    CHECK(rl_object_split(text, run->parts.len, &members));
    found = (const rl_member *)(const void *)members.data;
    for (size_t i = 0; i < members.len / sizeof *found; i++) {
        CHECK(is_json(text + found[i].value_at, found[i].value_len));
        put_part(stored, copied(text + found[i].key_at + 1, found[i].key_len - 2),
                 copied(text + found[i].value_at, found[i].value_len));
    }
    rl_buf_free(&members);
}

/* Commits a run to the model. */
static void commit(struct stored *stored, const rl_run *run)
{
    stored->pieces++;
    for (int i = 0; i < RL_COLUMNS; i++) {
        const char *column = rl_run_text(run, (rl_column)i);

        if (column != NULL) {
            set_text(&stored->columns[i], copied(column, strlen(column)));
        }
    }
    if (run->parts.given) {
        add_parts(stored, run);
    }
    if (run->parts.given && run->parts_use == RL_PARTS_JOIN) {
        CHECK(stored->columns[RL_NODE_LOGS] == NULL);
        set_text(&stored->columns[RL_NODE_LOGS], joined(stored));
    }
    if (run->parts.given && run->parts_use != RL_PARTS_ADD) {
        CHECK(stored->columns[RL_NODE_LOGS] != NULL);
        drop_nodes(stored);
    }
}

static void empty(struct stored *stored)
{
    for (size_t i = 0; i < stored->count; i++) {
        free(stored->names[i]);
        free(stored->texts[i]);
    }
    for (int i = 0; i < RL_COLUMNS; i++) {
        free(stored->columns[i]);
    }
    memset(stored, 0, sizeof *stored);
}

/* Puts * in the place of the times. */
static void mask_times(char *logs)
{
    static const char *const marks[] = {"\"started_at\":\"", "\"duration_ms\":"};

    for (size_t i = 0; i < 2 && logs != NULL; i++) {
        for (char *at = strstr(logs, marks[i]); at != NULL; at = strstr(at, marks[i])) {
            at += strlen(marks[i]);
            size_t len = strcspn(at, i == 0 ? "\"" : ",}");

            if (strncmp(at, "null", 4) != 0) {
                memmove(at + 1, at + len, strlen(at + len) + 1);
                *at = '*';
            }
        }
    }
}

/* Two runs with the same events, in lanes of their own: the first is written at its end
 * only. */
static const char lanes[2];
#define OTHER ((uint64_t)1 << 30)

#define SPANS 120

struct pair {
    rl_graphs *graphs;
    rl_run *run;
    struct stored stored[2];
    uint64_t state; /* of the random numbers */
    uint64_t open[SPANS], next;
    size_t count;
    int number, items; /* of the state */
    bool fails;        /* some commits fail; else memory is taken back */
    rl_value *values[6];
    rl_metrics metrics;
};

static void begin_both(struct pair *pair, rl_span_start start, const char *inputs,
                       rl_values values)
{
    rl_buf members;

    rl_buf_init(&members, RL_BUF_MAX);
    CHECK(rl_object_split(inputs, strlen(inputs), &members));
    start.inputs =
        (rl_object){inputs, strlen(inputs), (const rl_member *)(const void *)members.data,
                    members.len / sizeof(rl_member)};
    start.values = values;
    for (int i = 0; i < 2; i++) {
        rl_graph_start given = graph_of(NULL);

        given.recorder = &lanes[i];
        given.interval_ns = i == 0 ? RL_LIVE_NEVER : 1;
        given.metadata = text("{\"m\":1}");
        given.memory = (rl_memory){i == 0 ? 0 : 8, &pair->metrics, NULL};
        start.key.low = pair->next + (uint64_t)i * OTHER;
        start.key.high = 0;
        start.parent.low += (uint64_t)i * OTHER;
        CHECK(begin_as(pair->graphs, &start, &given) != RL_SPAN_NONE);
        start.parent.low -= (uint64_t)i * OTHER;
    }
    pair->open[pair->count++] = pair->next++;
    rl_buf_free(&members);
}

/* The state of the graph, which changes a little; with a value at times. */
static void begin_span(struct pair *pair, size_t parent_at)
{
    static const char *const names[] = {"n\"1", "a", "b", "c"};
    uint64_t kind = random_below(&pair->state, 4), parent = pair->open[parent_at];
    rl_value *value = pair->values[random_below(&pair->state, 6)];
    rl_span_start start = {.has_parent = true,
                           .name = text(names[random_below(&pair->state, 4)]),
                           .step = 3};
    char inputs[6000], ns[100];
    size_t len;

    start.parent = (rl_key){0, parent, NULL};
    len = (size_t)snprintf(inputs, sizeof inputs, "{\"n\":%d,\"doc\":{\"$value\":\"%s\"}",
                           pair->number++, value->name);
    for (int i = 0; i < 12; i++) {
        len += (size_t)snprintf(inputs + len, sizeof inputs - len, ",\"k%d\":\"%0150d\"",
                                i, i == pair->number % 37 ? pair->number : 0);
    }
    len += (size_t)snprintf(inputs + len, sizeof inputs - len, ",\"items\":[0");
    pair->items += kind == 1;
    for (int i = 0; i < pair->items; i++) {
        len += (size_t)snprintf(inputs + len, sizeof inputs - len, ",%d", i);
    }
    snprintf(inputs + len, sizeof inputs - len, "]}");
    if (kind < 3) { /* one of few namespaces, so that some are attempts */
        snprintf(ns, sizeof ns, "p%" PRIu64 "|n:%d", parent,
                 (int)random_below(&pair->state, 3));
        start.ns = text(ns);
        start.pushed = kind == 2;
        begin_both(pair, start, inputs, (rl_values){&value, 1});
    } else {
        start.call = random_below(&pair->state, 3) == 0 ? RL_CALL_TOOL : RL_CALL_LLM;
        begin_both(pair, start, "{}", (rl_values){NULL, 0});
    }
}

static void end_one(struct pair *pair, size_t at)
{
    uint64_t kind = random_below(&pair->state, 12);
    rl_value *value = pair->values[random_below(&pair->state, 6)];
    rl_span_end end = {.outcome = kind == 0   ? RL_FAILED
                                  : kind == 1 ? RL_INTERRUPTED
                                              : RL_COMPLETED,
                       .ended_ns = rl_monotonic_ns(),
                       .tokens = {kind > 5, 1, 2, 3},
                       .model = text(kind % 2 == 0 ? "one" : "other")};
    char outputs[400];

    snprintf(outputs, sizeof outputs, "{\"$value\":\"%s\",\"pad\":\"%0100d\"}",
             value->name, pair->number);
    if (kind == 0) {
        end.error_type = text("ValueError");
        end.error_text = text("it's \"bad\"");
        end.error_traceback = text("in \"f\"");
        end.error_key = kind + 1;
    } else if (kind == 1) {
        end.interrupts = text("[{\"value\":7}]");
    } else {
        end.outputs = text(outputs);
        end.values = (rl_values){&value, 1};
    }
    for (uint64_t i = 0; i < 2; i++) {
        CHECK(rl_graphs_end(pair->graphs, (rl_key){0, pair->open[at] + i * OTHER, NULL},
                            &end));
    }
    pair->open[at] = pair->open[--pair->count];
}

/* Takes memory back, as far as that goes. */
static void relieve(struct pair *pair)
{
    rl_relief relief = RL_RELIEF_FREED;

    for (int i = 0; i < 50 && relief != RL_RELIEF_NONE; i++) {
        relief = rl_graphs_relieve(pair->graphs, &lanes[1], true,
                                   1 + random_below(&pair->state, 3000), pair->run);
        if (relief == RL_RELIEF_WRITE) {
            commit(&pair->stored[1], pair->run);
            rl_graphs_wrote(pair->graphs, pair->run, true);
        }
    }
}

/* Writes what is new of the second run; perhaps frees it. */
static void checkpoint(struct pair *pair)
{
    uint64_t kind = random_below(&pair->state, 6);
    const rl_key key = {0, 1 + OTHER, NULL};

    if (kind == 0 && !pair->fails) { /* after a failure payloads would be dropped */
        relieve(pair);
    } else if (kind == 1 && pair->fails &&
               rl_graphs_write_one(pair->graphs, key, false, pair->run) == RL_OK) {
        rl_graphs_wrote(pair->graphs, pair->run, false);
    } else if (kind == 2) {
        while (rl_graphs_write_one(pair->graphs, key, false, pair->run) == RL_OK) {
            commit(&pair->stored[1], pair->run);
            rl_graphs_wrote(pair->graphs, pair->run, true);
        }
    }
}

static void end_pair(struct pair *pair)
{
    static const rl_outcome outcomes[] = {RL_COMPLETED, RL_FAILED, RL_CANCELLED};
    rl_span_end end = {.outcome = outcomes[random_below(&pair->state, 3)],
                       .ended_ns = rl_monotonic_ns(),
                       .outputs = text("{\"end\":1}"),
                       .values = {&pair->values[5], 1}};

    if (end.outcome == RL_FAILED) { /* with the error of its nodes, or another one */
        end.error_type = text(random_below(&pair->state, 3) > 0 ? "ValueError" : "E");
        end.error_text = text("it's \"bad\"");
    }
    for (uint64_t i = 0; i < 2; i++) {
        rl_graph *graph = rl_graphs_take(pair->graphs, (rl_key){0, 1 + i * OTHER, NULL});

        REQUIRE(graph != NULL);
        CHECK(rl_graphs_settle(pair->graphs, graph, false));
        rl_graph_write(graph, &end, pair->run);
        CHECK(!pair->run->arena.failed);
        commit(&pair->stored[i], pair->run);
        rl_graph_free(graph);
    }
}

/* Compares two texts; shows where they differ. */
static void check_equal(const char *got, const char *want)
{
    size_t at = 0;

    while (got != NULL && want != NULL && got[at] != '\0' && got[at] == want[at]) {
        at++;
    }
    at = at > 60 ? at - 60 : 0;
    if (got == NULL || want == NULL ? got != want : strcmp(got, want) != 0) {
        char texts[2][200];

        snprintf(texts[0], sizeof texts[0], "%s", got != NULL ? got + at : "(null)");
        snprintf(texts[1], sizeof texts[1], "%s", want != NULL ? want + at : "(null)");
        CHECK_STR(texts[0], texts[1]);
    }
}

static void check_same(struct pair *pair)
{
    struct stored *once = &pair->stored[0], *often = &pair->stored[1];

    CHECK_INT(once->pieces, 1);
    mask_times(once->columns[RL_NODE_LOGS]);
    mask_times(often->columns[RL_NODE_LOGS]);
    for (int i = 0; i < RL_COLUMNS; i++) {
        if (i != RL_ID) {
            check_equal(often->columns[i], once->columns[i]);
        }
    }
    CHECK_INT(often->count, once->count);
    for (size_t i = 0; i < once->count; i++) {
        check_equal(part_of(often, once->names[i]), once->texts[i]);
    }
}

static void test_pieces_make_the_same_run(void)
{
    enum {
        ROUNDS = 200
    };
    static struct pair pair;
    char large[9000];
    size_t pieces = 0;

    memset(&pair, 0, sizeof pair);
    pair.graphs = rl_graphs_new();
    pair.run = rl_run_new();
    pair.state = 20261129;
    for (int i = 0; i < 6; i++) {
        memset(large, 'a' + i, sizeof large);
        large[0] = large[sizeof large - 1] = '"';
        pair.values[i] = rl_value_new(large, sizeof large);
    }
    for (int round = 0; round < ROUNDS && atomic_load(&check_failures) < 5; round++) {
        rl_span_start start = {.is_graph = true};
        size_t steps = random_below(&pair.state, 110);

        pair.next = 1;
        pair.count = 0;
        pair.number = 0;
        pair.items = 0;
        pair.fails = round % 3 == 0;
        begin_both(&pair, start, "{\"n\":0,\"k\":[1]}", (rl_values){pair.values, 2});
        for (size_t i = 0; i < steps; i++) {
            size_t at = random_below(&pair.state, pair.count);

            if (at > 0 && random_below(&pair.state, 2) == 0) {
                end_one(&pair, at);
            } else {
                begin_span(&pair, at);
            }
            checkpoint(&pair);
        }
        end_pair(&pair);
        check_same(&pair);
        pieces += pair.stored[1].pieces;
        empty(&pair.stored[0]);
        empty(&pair.stored[1]);
    }
    CHECK(pieces > 3 * ROUNDS);
    CHECK(rl_metric_get(&pair.metrics.handler_spilled) > ROUNDS / 2);
    CHECK_INT(rl_metric_get(&pair.metrics.handler_dropped), 0);
    for (int i = 0; i < 6; i++) {
        CHECK_INT(atomic_load(&pair.values[i]->refs),
                  1); /* all references were given up */
        rl_value_unref(pair.values[i]);
    }
    rl_run_free(pair.run);
    rl_graphs_free(pair.graphs, release_none);
}

/* Opens a graph with a limit, a few hundred bytes of inputs and a node. */
static void open_limited(rl_graphs *graphs, uint64_t number, size_t limit,
                         rl_metrics *metrics, rl_notices *notices, size_t size)
{
    rl_graph_start given = graph_of(NULL);
    rl_span_start start = start_of(number, 0, NULL, "graph");
    char *inputs = malloc(size + 20), ns[40];

    snprintf(inputs, size + 20, "{\"s\":\"%0*" PRIu64 "\"}", (int)size, number);
    given.recorder = &lanes[0];
    given.memory = (rl_memory){limit, metrics, notices};
    start.is_graph = true;
    start.inputs = object(inputs);
    CHECK_INT(begin_as(graphs, &start, &given), RL_SPAN_GRAPH);
    snprintf(ns, sizeof ns, "n:%" PRIu64, number);
    start = start_of(number + 1, number, ns, "n");
    start.inputs = object(inputs);
    CHECK_INT(begin(graphs, &start), RL_SPAN_NODE);
    end_span(graphs, number + 1, RL_COMPLETED, false);
    free(inputs);
}

/* An inner node pauses, its log leaves memory, and the node around it, which the consumer
 * of the stream has left, is cancelled: what it paused at is still known. */
static void test_a_pause_outlives_the_log_of_its_node(void)
{
    rl_graphs *graphs = rl_graphs_new();
    rl_run *run = rl_run_new();
    rl_graph_start given = graph_of(NULL);
    rl_span_start start = start_of(1, 0, NULL, "graph");
    rl_span_end end = {.outcome = RL_INTERRUPTED,
                       .interrupts = text("[{\"value\":\"which?\"}]")};
    static char large[60000];
    rl_relief relief = RL_RELIEF_FREED;
    rl_metrics metrics = {0};

    snprintf(large, sizeof large, "{\"n\":\"%059900d\"}", 7);
    given.recorder = &lanes[0];
    given.memory = (rl_memory){1 << 14, &metrics, NULL};
    start.is_graph = true;
    CHECK_INT(begin_as(graphs, &start, &given), RL_SPAN_GRAPH);
    begin_node(graphs, 2, 1, "outer:1", "outer");
    start = start_of(3, 2, "outer:1|inner:2", "inner");
    start.inputs = object(large);
    CHECK_INT(begin(graphs, &start), RL_SPAN_NODE);
    end.ended_ns = rl_monotonic_ns();
    CHECK(rl_graphs_end(graphs, key_of(3), &end));
    for (int i = 0; i < 9 && relief != RL_RELIEF_NONE; i++) {
        relief = rl_graphs_relieve(graphs, &lanes[0], true, 100000, run);
        if (relief == RL_RELIEF_WRITE) {
            rl_graphs_wrote(graphs, run, true);
        }
    }
    CHECK(rl_metric_get(&metrics.handler_spilled) > 0);
    end_span(graphs, 2, RL_CANCELLED, false);
    finish(graphs, 1, RL_COMPLETED, run);
    CHECK_STR(rl_run_text(run, RL_STATUS), "interrupted");
    CHECK(strstr(rl_run_text(run, RL_METADATA), "\"value\":\"which?\"") != NULL);
    rl_run_free(run);
    rl_graphs_free(graphs, release_none);
}

/* Runs that are not written at intervals leave memory, too; the least recently touched
 * first. What stays of each is small, and each ends as it ended. */
static void test_many_open_runs_take_little_memory(void)
{
    enum {
        RUNS = 2000,
        SIZE = 20000,
        LIMIT = 8 << 20
    };
    static struct stored stored;
    rl_graphs *graphs = rl_graphs_new();
    rl_run *run = rl_run_new();
    rl_metrics metrics = {0};
    int writes = 0;

    for (uint64_t i = 1; i <= RUNS; i++) {
        open_limited(graphs, i << 10, LIMIT, &metrics, NULL, SIZE);
        while (rl_graphs_pressure(graphs, &lanes[0]) != RL_PRESSURE_NONE) {
            rl_relief relief = rl_graphs_relieve(graphs, &lanes[0], true, 1 << 20, run);

            REQUIRE(relief != RL_RELIEF_NONE);
            if (relief == RL_RELIEF_WRITE) {
                CHECK_STR(rl_run_text(run, RL_STATUS), "running");
                if (memcmp(rl_run_text(run, RL_INPUTS) + 6 + SIZE - 4, "1024", 4) == 0) {
                    commit(&stored, run); /* of the first one */
                }
                rl_graphs_wrote(graphs, run, true);
                writes++;
            }
        }
    }
    CHECK(writes > RUNS - LIMIT / SIZE);
    CHECK_INT(rl_metric_get(&metrics.handler_spilled), writes);
    CHECK_INT(rl_metric_get(&metrics.handler_dropped), 0);
    finish(graphs, 1 << 10, RL_FAILED, run);
    CHECK(rl_run_text(run, RL_INPUTS) == NULL && rl_run_text(run, RL_NODE_LOGS) == NULL);
    commit(&stored, run);
    CHECK_STR(stored.columns[RL_STATUS], "failed");
    CHECK_INT(strlen(stored.columns[RL_INPUTS]), SIZE + 8);
    CHECK(strstr(stored.columns[RL_NODE_LOGS], stored.columns[RL_INPUTS]) != NULL);
    finish(graphs, (uint64_t)RUNS << 10, RL_COMPLETED, run);
    CHECK(!run->parts.given && run->texts[RL_NODE_LOGS].len > SIZE);
    empty(&stored);
    for (uint64_t i = 2; i < RUNS; i++) {
        rl_graph_free(rl_graphs_take(graphs, key_of(i << 10)));
    }
    CHECK(rl_graphs_pressure(graphs, &lanes[0]) == RL_PRESSURE_NONE);
    rl_run_free(run);
    rl_graphs_free(graphs, release_none);
}

/* Where nothing can be written, memory stays bounded: payloads leave their sizes, which
 * is counted, and said once. */
static void test_what_cannot_be_written_is_dropped(void)
{
    enum {
        RUNS = 1000,
        SIZE = 20000,
        LIMIT = 4 << 20
    };
    rl_graphs *graphs = rl_graphs_new();
    rl_run *run = rl_run_new();
    rl_metrics metrics = {0};
    rl_notices notices;
    rl_notice notice;
    int writes = 0;

    rl_notices_init(&notices);
    for (uint64_t i = 1; i <= RUNS; i++) {
        rl_relief relief = RL_RELIEF_FREED;

        open_limited(graphs, i << 10, LIMIT, &metrics, &notices, SIZE);
        while (relief != RL_RELIEF_NONE) {
            relief = rl_graphs_relieve(graphs, &lanes[0], true, 1 << 20, run);
            if (relief == RL_RELIEF_WRITE) {
                writes++;
                rl_graphs_wrote(graphs, run, false);
            }
        }
    }
    CHECK(writes > 0 && writes < 100); /* not tried again and again */
    CHECK(rl_metric_get(&metrics.handler_dropped) > RUNS);
    CHECK(rl_notices_take(&notices, &notice) && notice.level == RL_NOTICE_ERROR);
    CHECK(strstr(notice.text, "max_memory") != NULL);
    CHECK(!rl_notices_take(&notices, &notice));
    finish(graphs, 2 << 10, RL_COMPLETED, run);
    CHECK_STR(rl_run_text(run, RL_STATUS), "completed");
    CHECK_STR(rl_run_text(run, RL_INPUTS), "\"<dropped: 20008 bytes>\"");
    CHECK(strstr(rl_run_text(run, RL_NODE_LOGS),
                 "\"inputs\":\"<dropped: 20008 bytes>\",\"outputs\":[2]") != NULL);
    finish(graphs, (uint64_t)RUNS << 10, RL_COMPLETED, run);
    CHECK_INT(run->texts[RL_INPUTS].len, SIZE + 8); /* the newest are whole */
    rl_notices_destroy(&notices);
    rl_run_free(run);
    for (uint64_t i = 1; i < RUNS; i++) {
        rl_graph_free(rl_graphs_take(graphs, key_of(i << 10)));
    }
    rl_graphs_free(graphs, release_none);
}

/* Writes and frees a graph while allocations fail; what the model has in the end is
 * whole, or the end was refused. */
static rl_status write_and_free(rl_err *err)
{
    rl_graphs *graphs = rl_graphs_new();
    rl_run *run = rl_run_new();
    rl_metrics metrics = {0};
    rl_status status = graphs != NULL && run != NULL ? RL_OK : rl_err_nomem(err);
    rl_graph_start given = graph_of(NULL);
    rl_span_start start = start_of(1, 0, NULL, "graph");
    rl_span_end end = {.outcome = RL_COMPLETED, .outputs = text("[2]"), .ended_ns = 1};
    rl_graph *graph = NULL;

    given.memory = (rl_memory){8, &metrics, NULL};
    for (uint64_t i = 1; i < 60 && status == RL_OK; i++) {
        char ns[20], inputs[700];

        snprintf(ns, sizeof ns, "n:%" PRIu64, i);
        snprintf(inputs, sizeof inputs, "{\"a\":%0600d}", 0);
        start = i > 1 ? start_of(i, 1, ns, "n") : start;
        start.inputs = object(inputs);
        status = rl_graphs_start(graphs, i > 1 ? RL_SPAN_NODE : RL_SPAN_GRAPH, &start,
                                 i > 1 ? NULL : &given);
        end.outcome = i % 4 == 0 ? RL_FAILED : RL_COMPLETED;
        if (status == RL_OK && i % 3 != 0) {
            (void)rl_graphs_end(graphs, key_of(i), &end);
        }
        if (i % 8 == 7 && status == RL_OK &&
            rl_graphs_relieve(graphs, NULL, true, 1 << 20, run) == RL_RELIEF_WRITE) {
            rl_graphs_wrote(graphs, run, rl_run_seal(run, err) == RL_OK);
        }
    }
    graph = graphs != NULL ? rl_graphs_take(graphs, key_of(1)) : NULL;
    if (graph != NULL && status == RL_OK) {
        rl_graph_write(graph, &end, run);
        status = rl_run_seal(run, err);
    }
    rl_graph_free(graph);
    rl_run_free(run);
    rl_graphs_free(graphs, release_none);
    return status == RL_NOMEM ? rl_err_nomem(err) : status;
}

static void test_without_memory(void)
{
    fail_everywhere(write_and_free, 60);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_pieces_make_the_same_run),
    CHECK_TEST(test_a_pause_outlives_the_log_of_its_node),
    CHECK_TEST(test_many_open_runs_take_little_memory),
    CHECK_TEST(test_what_cannot_be_written_is_dropped),
    CHECK_TEST(test_without_memory),
};

CHECK_MAIN(tests)
