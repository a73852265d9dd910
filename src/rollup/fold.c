/* Folding runs. See fold.h. */
#include "rollup/fold.h"

#include "core/clock.h"
#include "core/hash.h"
#include "core/json_read.h"

#include <math.h>
#include <string.h>

/* No figure of one run is greater: more is damage, or a joke. */
#define FIGURE_MAX 9007199254740992.0 /* 2 ** 53 */

/* What is looked at of a node log; none of them is a value that is not there. */
typedef enum member {
    NODE,
    NAME,
    STATUS,
    ATTEMPT,
    STARTED_AT,
    DURATION_MS,
    TOKENS,
    LLM_CALLS,
    TOOL_CALLS,
    CALLS,
    OF,
    KIND,
    MODEL,
    MODELS,
    CACHED,
    MEMBERS,
} member;

static const char *const names[MEMBERS] = {
    "node",        "name",   "status",    "attempt",    "started_at",
    "duration_ms", "tokens", "llm_calls", "tool_calls", "calls",
    "$of",         "kind",   "model",     "models",     "cached"};

typedef struct fold {
    rl_sums *sums;
    const rl_fold_run *run;
    uint64_t number; /* of the run; what nodes have noted of another one is past */
    uint64_t retries, waited_us, repeats;
    uint64_t asked; /* calls of models that the logs have */
    uint64_t path;  /* the hash of the nodes that it went through */
    bool has_path;
    rl_buf text; /* a string without its escapes */
    rl_string first_failed;
} fold;

static rl_ended outcome_of(const char *text, size_t len)
{
    static const char *const outcomes[] = {"completed", "failed", "interrupted",
                                           "cancelled", "running"};
    size_t i = 0;

    while (i < RL_ENDED_OTHER &&
           (strlen(outcomes[i]) != len || memcmp(outcomes[i], text, len) != 0)) {
        i++;
    }
    return (rl_ended)i;
}

/* Which member a key names; MEMBERS for one that is not looked at. */
static member member_of(rl_json_value key)
{
    const rl_json_value inside = {key.text + 1, key.len - 2};
    const bool plain = memchr(inside.text, '\\', inside.len) == NULL;
    unsigned found = 0;

    while (found < MEMBERS &&
           (plain ? inside.len != strlen(names[found]) ||
                        memcmp(inside.text, names[found], inside.len) != 0
                  : !rl_json_equals(key, names[found], strlen(names[found])))) {
        found++;
    }
    return (member)found;
}

static void read_members(rl_json_value log, rl_json_value values[MEMBERS])
{
    rl_json_reader reader;
    rl_json_value key, value;

    memset(values, 0, MEMBERS * sizeof *values);
    rl_json_enter(&reader, log);
    while (reader.is_object && rl_json_next(&reader, &key, &value)) {
        const member found = member_of(key);

        if (found < MEMBERS) {
            values[found] = value;
        }
    }
}

/* A number that is not negative, times `scale`, rounded; false for anything else. */
static bool read_number(rl_json_value value, double scale, uint64_t *out)
{
    double number;

    if (!rl_json_number(value, &number) || !(number >= 0)) {
        return false;
    }
    number = floor(number * scale + (scale > 1 ? 0.5 : 0));
    *out = number < FIGURE_MAX ? (uint64_t)number : (uint64_t)FIGURE_MAX;
    return true;
}

/* The characters of a string; {NULL, 0} for anything else, and for an empty one. They stay
 * until the next call. */
static rl_string read_text(fold *self, rl_json_value value, size_t max)
{
    rl_string text = {NULL, 0};

    if (rl_json_kind_of(value) == RL_JSON_STRING && value.len > 2) {
        if (memchr(value.text, '\\', value.len) == NULL) {
            text = (rl_string){value.text + 1, value.len - 2};
        } else {
            self->text.len = 0;
            rl_json_unescape(value, &self->text);
            text = (rl_string){self->text.data, self->text.len};
        }
        text.len = rl_text_prefix(text.text, text.len, max);
    }
    return text.len > 0 ? text : (rl_string){NULL, 0};
}

/* Adds the numbers of an object; those of `input_details` with that before their name. */
static void add_kinds(fold *self, rl_kinds *tokens, rl_json_value value,
                      const char *prefix)
{
    char name[RL_SUMS_NAME_MAX + 32];
    rl_json_reader reader;
    rl_json_value key, one;

    rl_json_enter(&reader, value);
    while (reader.is_object && rl_json_next(&reader, &key, &one)) {
        const size_t before = strlen(prefix);
        const rl_string text = read_text(self, key, RL_SUMS_NAME_MAX);
        uint64_t count;

        if (text.text == NULL) {
            continue;
        }
        memcpy(name, prefix, before);
        memcpy(name + before, text.text, text.len);
        if (read_number(one, 1, &count)) {
            rl_sums_tokens(self->sums, tokens, (rl_string){name, before + text.len},
                           count, false);
        } else if (before == 0 && text.len < 20) {
            name[text.len] = '.';
            name[text.len + 1] = '\0';
            if (rl_json_kind_of(one) == RL_JSON_OBJECT) {
                char nested[24];

                memcpy(nested, name, text.len + 2);
                add_kinds(self, tokens, one, nested);
            }
        }
    }
}

static void add_tokens(fold *self, rl_figures *figures, rl_json_value value)
{
    uint64_t total;

    add_kinds(self, &figures->tokens, value, "");
    if (rl_json_kind_of(value) == RL_JSON_OBJECT &&
        read_number(rl_json_member(value, "total", 5), 1, &total) && total > 0) {
        rl_sums_value(self->sums, &figures->sizes, total);
    }
}

static void add_number(rl_json_value value, uint64_t *sum)
{
    uint64_t number;

    if (read_number(value, 1, &number)) {
        *sum = rl_moved(*sum, number, false);
    }
}

/* Calls of a model. `billed`: its tokens count. */
static void add_asked(fold *self, rl_json_value model_name, uint64_t calls,
                      rl_json_value tokens, bool billed)
{
    const rl_string name = read_text(self, model_name, RL_SUMS_NAME_MAX);
    rl_model *model = name.text != NULL ? rl_sums_model(self->sums, name, calls) : NULL;

    self->asked += calls;
    if (model != NULL) {
        model->calls = rl_moved(model->calls, calls, false);
        if (billed) {
            add_kinds(self, &model->tokens, tokens, "");
        }
    }
}

static void add_call(fold *self, const rl_json_value values[MEMBERS])
{
    const rl_json_value cached = values[CACHED];

    if (rl_json_equals(values[KIND], "llm", 3)) {
        add_asked(self, values[MODEL], 1, values[TOKENS],
                  cached.len != 4 || memcmp(cached.text, "true", 4) != 0);
    }
}

/* The calls that a node or a run counts, but does not have, if all are of one model. */
static void add_counted(fold *self, rl_json_value log)
{
    rl_json_value values[MEMBERS], key, model = {NULL, 0}, more;
    rl_json_reader reader;
    uint64_t calls;

    read_members(log, values);
    rl_json_enter(&reader, values[MODELS]);
    if (!reader.is_object && rl_json_next(&reader, &key, &model) &&
        !rl_json_next(&reader, &key, &more) &&
        read_number(values[LLM_CALLS], 1, &calls) && calls > 0) {
        add_asked(self, model, calls, values[TOKENS], true);
    }
}

/* Adds the models of a run that was recorded without its calls. */
static void add_models(fold *self, rl_json_value logs, rl_json_value metadata)
{
    rl_json_reader reader;
    rl_json_value key, log;
    uint64_t calls;

    if (self->asked > 0 ||
        !read_number(rl_json_member(metadata, "llm_calls", 9), 1, &calls) || calls == 0) {
        return;
    }
    rl_json_enter(&reader, logs);
    while (!reader.is_object && rl_json_next(&reader, &key, &log)) {
        if (rl_json_kind_of(log) == RL_JSON_OBJECT) {
            add_counted(self, log);
        }
    }
    if (self->asked == 0) {
        add_counted(self, metadata);
    }
}

static void add_calls(fold *self, rl_json_value calls)
{
    rl_json_value key, value, values[MEMBERS];
    rl_json_reader reader;

    rl_json_enter(&reader, calls);
    while (!reader.is_object && rl_json_next(&reader, &key, &value)) {
        read_members(value, values);
        add_call(self, values);
    }
}

/* Whether a log is a call, or an event, beside its node (docs/encoding.md). */
static bool is_beside(const rl_json_value values[MEMBERS])
{
    return rl_json_kind_of(values[OF]) == RL_JSON_ARRAY &&
           (rl_json_equals(values[KIND], "llm", 3) ||
            rl_json_equals(values[KIND], "tool", 4) ||
            rl_json_equals(values[KIND], "retriever", 9) ||
            rl_json_equals(values[KIND], "event", 5));
}

static int64_t read_time(fold *self, rl_json_value value)
{
    const rl_string text = read_text(self, value, RL_TIME_TEXT);
    int64_t stamp;

    return text.text != NULL && rl_time_parse(text.text, text.len, &stamp) ? stamp
                                                                           : RL_TIME_NONE;
}

/* What a node has noted of this run. */
static void note(fold *self, rl_node *node, rl_ended outcome, uint64_t attempt,
                 int64_t started, int64_t ended)
{
    if (node->run != self->number) {
        node->run = self->number;
        node->firsts = node->retries = 0;
        node->failed_end = RL_TIME_NONE;
    }
    if (attempt > 1) {
        if (started != RL_TIME_NONE && node->failed_end != RL_TIME_NONE &&
            started > node->failed_end) {
            const uint64_t waited = (uint64_t)started - (uint64_t)node->failed_end;

            node->figures.waited_us = rl_moved(node->figures.waited_us, waited, false);
            self->waited_us = rl_moved(self->waited_us, waited, false);
        }
        node->retries++;
        self->retries++;
        node->figures.retries++;
        if (node->retries == 1) {
            node->figures.retried++;
            node->figures.recovered +=
                outcome_of(self->run->status.text, self->run->status.len) ==
                RL_ENDED_COMPLETED;
        }
    } else {
        node->firsts++;
        rl_sums_repeats(self->sums, &node->figures, node->firsts,
                        node->firsts > 1 ? self->run->run_id : (rl_string){NULL, 0});
        self->repeats = node->firsts > self->repeats ? node->firsts : self->repeats;
    }
    node->failed_end = outcome == RL_ENDED_FAILED ? ended : RL_TIME_NONE;
}

static void add_log(fold *self, rl_json_value log)
{
    rl_json_value values[MEMBERS];
    uint64_t attempt = 1, us = 0;
    rl_ended outcome;
    int64_t started, ended = RL_TIME_NONE;
    bool has_duration;
    rl_string name;
    rl_node *node;

    read_members(log, values);
    if (is_beside(values)) {
        add_call(self, values);
        return;
    }
    started = read_time(self, values[STARTED_AT]);
    name = read_text(self, values[STATUS], RL_SUMS_NAME_MAX);
    outcome = name.text != NULL ? outcome_of(name.text, name.len) : RL_ENDED_OTHER;
    name = read_text(self, values[NODE], RL_SUMS_NAME_MAX);
    name = name.text != NULL ? name : read_text(self, values[NAME], RL_SUMS_NAME_MAX);
    name = name.text != NULL ? name : (rl_string){"?", 1};
    node = rl_sums_node(self->sums, name);
    if (node == NULL) {
        return;
    }
    (void)read_number(values[ATTEMPT], 1, &attempt);
    has_duration = read_number(values[DURATION_MS], 1000, &us);
    if (has_duration) {
        rl_sums_value(self->sums, &node->figures.durations, us);
        rl_sums_slowest(self->sums, &node->figures, us, self->run->run_id);
        ended = started != RL_TIME_NONE ? started + (int64_t)us : RL_TIME_NONE;
    }
    if (node->run != self->number) {
        self->path =
            (self->path ^ rl_hash(name.text, name.len)) * UINT64_C(1099511628211);
        self->has_path = true;
    }
    node->figures.outcomes[outcome]++;
    note(self, node, outcome, attempt, started, ended);
    add_tokens(self, &node->figures, values[TOKENS]);
    add_number(values[LLM_CALLS], &node->figures.llm_calls);
    add_number(values[TOOL_CALLS], &node->figures.tool_calls);
    add_calls(self, values[CALLS]);
    if (outcome == RL_ENDED_FAILED && self->first_failed.text == NULL) {
        self->first_failed = node->name;
    }
}

/* The node in which a failed run failed. */
static rl_string blamed(fold *self, rl_json_value metadata)
{
    const rl_json_value at =
        rl_json_member(rl_json_member(metadata, "totals", 6), "at", 2);
    const rl_string said = read_text(self, at, RL_SUMS_NAME_MAX);

    return said.text != NULL ? said : self->first_failed;
}

static void add_failure(fold *self, rl_json_value metadata)
{
    const rl_fold_run *run = self->run;
    rl_failure failure = {.error = run->error_type,
                          .node = blamed(self, metadata),
                          .text = run->error_text,
                          .number = 1,
                          .first = run->created_at,
                          .last = run->created_at,
                          .examples = {{run->run_id, run->created_at}}};

    failure.error.len =
        rl_text_prefix(failure.error.text, failure.error.len, RL_SUMS_NAME_MAX);
    failure.text.len =
        rl_text_prefix(failure.text.text, failure.text.len, RL_SUMS_TEXT_MAX);
    rl_sums_failure(self->sums, &failure, false);
}

/* The figures of the run itself. */
static void add_run(fold *self, rl_json_value metadata, rl_ended outcome)
{
    const rl_fold_run *run = self->run;
    rl_figures *figures = &self->sums->run;

    figures->outcomes[outcome]++;
    figures->retries = rl_moved(figures->retries, self->retries, false);
    figures->retried += self->retries > 0;
    figures->recovered += self->retries > 0 && outcome == RL_ENDED_COMPLETED;
    figures->waited_us = rl_moved(figures->waited_us, self->waited_us, false);
    rl_sums_repeats(self->sums, figures, self->repeats,
                    self->repeats > 1 ? run->run_id : (rl_string){NULL, 0});
    if (run->duration_ms >= 0) {
        const uint64_t us = (uint64_t)run->duration_ms * 1000;

        rl_sums_value(self->sums, &figures->durations, us);
        rl_sums_slowest(self->sums, figures, us, run->run_id);
    }
    add_tokens(self, figures, rl_json_member(metadata, "tokens", 6));
    add_number(rl_json_member(metadata, "llm_calls", 9), &figures->llm_calls);
    add_number(rl_json_member(metadata, "tool_calls", 10), &figures->tool_calls);
    if (outcome == RL_ENDED_FAILED) {
        add_failure(self, metadata);
    }
    if (self->has_path) {
        rl_sums_way(self->sums, &(rl_way){self->path, 1, run->run_id}, false);
    }
}

void rl_fold(rl_sums *sums, const rl_fold_run *run)
{
    const rl_ended outcome =
        outcome_of(run->status.text != NULL ? run->status.text : "", run->status.len);
    fold self = {.sums = sums, .run = run};
    const rl_json_value logs = rl_json_unchecked(run->node_logs.text, run->node_logs.len);
    const rl_json_value none = {NULL, 0};
    rl_json_value metadata = rl_json_unchecked(run->metadata.text, run->metadata.len);
    rl_json_value key, log;
    rl_json_reader reader;

    if (outcome == RL_ENDED_RUNNING) {
        return;
    }
    rl_buf_init(&self.text, RL_BUF_MAX);
    self.number = ++sums->folded;
    self.path = UINT64_C(14695981039346656037);
    metadata = rl_json_kind_of(metadata) == RL_JSON_OBJECT ? metadata : none;
    rl_json_enter(&reader, logs);
    while (!reader.is_object && !sums->failed && rl_json_next(&reader, &key, &log)) {
        if (rl_json_kind_of(log) == RL_JSON_OBJECT) {
            add_log(&self, log);
        }
    }
    add_models(&self, logs, metadata);
    add_run(&self, metadata, outcome);
    sums->failed |= self.text.failed;
    rl_buf_free(&self.text);
}
