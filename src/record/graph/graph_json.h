/* Members of JSON objects, for the files that write open runs. */
#ifndef RL_GRAPH_JSON_H
#define RL_GRAPH_JSON_H

#include "core/json.h"
#include "record/graph/graph.h"

static inline void rl_put_key(rl_json *json, const char *key)
{
    rl_json_key(json, key, strlen(key));
}

static inline void rl_put_raw(rl_json *json, rl_text text)
{
    rl_json_raw(json, text.data != NULL ? text.data : "null",
                text.data != NULL ? text.len : 4);
}

static inline void rl_put_text(rl_json *json, const char *key, rl_text text)
{
    rl_put_key(json, key);
    if (text.data != NULL) {
        rl_json_text(json, text.data, text.len);
    } else {
        rl_put_raw(json, text);
    }
}

static inline void rl_put_int(rl_json *json, const char *key, int64_t value)
{
    rl_put_key(json, key);
    rl_json_int(json, value);
}

#endif
