/* The module's state: its types, its exceptions, and objects that are fetched once.
 *
 * Threads: used with the GIL only. Ownership: every pointer in it is owned.
 */
#ifndef RL_PY_STATE_H
#define RL_PY_STATE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "core/redact.h"
#include "core/run.h"
#include "py/base/type_cache.h"

/* clang-format off */
/* Names by which events are read: keyword arguments, metadata keys and attributes. */
#define RL_NAMES(X) \
    X(run_id) X(parent_run_id) X(tags) X(metadata) X(name) X(ls_integration) \
    X(runlog_run) X(inheritable_metadata) X(functions) X(toolSpec) X(function_declarations) \
    X(langgraph_checkpoint_ns) X(checkpoint_ns) X(langgraph_step) X(langgraph_path) X(thread_id) X(wpk_id) \
    X(ls_model_name) X(invocation_params) X(model) X(model_name) X(message) \
    X(usage_metadata) X(response_metadata) X(input_tokens) X(output_tokens) \
    X(total_tokens) X(prompt_tokens) X(completion_tokens) X(token_usage) X(llm_output) \
    X(generations) X(resume) X(interrupts) X(id) X(value) X(response_schema) \
    X(ls_provider) X(tools) X(response_format) X(function) X(inputs) X(tool_call_id) \
    X(query) X(messages) X(prompts) X(output) X(args) X(provider) \
    X(params) X(text) X(generation_info) X(finish_reason) X(stop_reason) \
    X(input_token_details) X(output_token_details) X(input_details) X(output_details) \
    X(input) X(total) X(total_cost) X(cached) X(chunk) X(tool_call_chunks) \
    X(tokens) X(status) X(incomplete_details) X(reason) X(options) \
    X(ls_structured_output_format) X(schema) X(output_config) \
    X(prompt_tokens_details) X(completion_tokens_details) X(cached_tokens) \
    X(reasoning_tokens) X(audio_tokens) X(cache_read) X(reasoning) X(audio) X(usage) \
    X(inputTokens) X(outputTokens) X(totalTokens) X(prompt_token_count) \
    X(candidates_token_count) X(total_token_count) X(input_token_count) \
    X(generated_token_count) X(prompt_eval_count) X(eval_count)
/* clang-format on */

#define RL_NAME_OF(name) RL_NAME_##name,
typedef enum rl_name {
    RL_NAMES(RL_NAME_OF) RL_NAME_COUNT
} rl_name;
#undef RL_NAME_OF

/* The arguments of make_handler_type; all NULL before that call. */
typedef struct rl_handler_state {
    PyTypeObject *type;
    Py_ssize_t offset;        /* of the handler's own data in an instance */
    PyObject *parent_command; /* LangGraph's exceptions, or None where it has none */
    PyObject *graph_interrupt, *bubble_up;
    PyObject *command;              /* LangGraph's class, or None */
    PyObject *cancelled;            /* a tuple of exceptions */
    PyObject *default_recorder;     /* () -> Recorder */
    PyObject *log;                  /* (message: str) -> None */
    PyObject *state_when_left;      /* see _leaving.py */
    PyObject *names[RL_NAME_COUNT]; /* interned */
    PyTypeObject *uuid;             /* uuid.UUID */
    Py_ssize_t uuid_int;            /* where an instance has its int, or 0 */
    int failing; /* the last graph found no recorder, and that was logged */
} rl_handler_state;

/* The wings that add to a Recorder. */
typedef enum rl_wing_id {
    RL_WING_MEANING,
    RL_WING_WORDS,
    RL_WING_ROLLUP,
    RL_WINGS
} rl_wing_id;
#define RL_WING_OPTIONS 16 /* of all of them, at most */

struct rl_state;
struct rl_option;
struct rl_companion;

/* The hooks by which a wing (embeddings; words; the roll-up) adds to a Recorder: the recorder's own
 * files know no more of it. Each function returns 0, or -1 with an error set. */
typedef struct rl_wing {
    const struct rl_option *options;
    size_t count;
    /* Makes the companion of a recorder from the values of the options (NULL where one is
     * not set). `postgres`: the recorder's store is PostgreSQL. The caller owns it. */
    int (*make_companion)(struct rl_state *state, PyObject *const *values, bool postgres,
                          struct rl_companion **companion);
    /* Adds counts to the dict of Recorder.stats(). */
    int (*add_stats)(struct rl_companion *companion, PyObject *stats);
} rl_wing;

#define RL_PLAIN_KEYS 1024

typedef struct rl_state {
    PyObject *runlog_error, *validation_error, *config_error, *closed_error, *store_error,
        *service_error;
    PyTypeObject *recorder_type, *prepared_type, *page_type;
    rl_handler_state handler;
    rl_type_cache kinds;      /* of the types that the encoder has met */
    PyObject *mapping;        /* collections.abc.Mapping */
    PyObject *vars, *extra;   /* the names of a pydantic model's own dicts, interned */
    PyObject *loads;          /* json.loads, fetched at the first read */
    PyObject *datetime, *utc; /* of datetime, fetched at the first time stamp */
    PyObject *column_names[RL_ALL_COLUMNS]; /* interned */
    rl_run *spare;                          /* a run to be used again, or NULL */
    rl_redact redact;                       /* the default rules, for encode_json */
    uint64_t plain_keys[RL_PLAIN_KEYS];     /* keys that hide nothing: see walk.c */
    const rl_wing *wings[RL_WINGS];
} rl_state;

/* The module's definition but for its functions and slots, which module.c adds. */
extern struct PyModuleDef rl_module;

/* The state of the module that defined `type` or a base of it. */
static inline rl_state *rl_state_of_type(PyTypeObject *type)
{
    PyObject *module = PyType_GetModuleByDef(type, &rl_module);

    return module != NULL ? PyModule_GetState(module) : NULL;
}

/* An empty run to fill, owned by the caller; NULL with MemoryError set. */
rl_run *rl_state_take_run(rl_state *state);
/* Gives it back to be used again (stolen); NULL is fine. */
void rl_state_give_run(rl_state *state, rl_run *run);

#endif
