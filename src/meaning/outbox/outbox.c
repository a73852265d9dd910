/* What the outboxes of the two databases share. See outbox.h. */
#include "meaning/outbox/outbox.h"

#include "meaning/outbox/embed_text.h"

#include <string.h>

#define RETAINED ((size_t)1 << 20) /* bytes of each buffer, from one claim to the next */

const char *const rl_outbox_state_names[RL_OUTBOX_STATES] = {
    [RL_OUTBOX_PENDING] = "pending", [RL_OUTBOX_EMBEDDED] = "embedded",
    [RL_OUTBOX_DONE] = "done",       [RL_OUTBOX_FAILED] = "failed",
    [RL_OUTBOX_DELETED] = "deleted",
};

bool rl_outbox_state_parse(const char *name, rl_outbox_state *state)
{
    bool found = false;

    for (int i = 0; i < RL_OUTBOX_STATES && !found; i++) {
        found = strcmp(name, rl_outbox_state_names[i]) == 0;
        if (found) {
            *state = (rl_outbox_state)i;
        }
    }
    return found;
}

rl_outbox_action rl_outbox_action_of(const rl_embed_rule *rule, const rl_run *run)
{
    const rl_slice *outputs = &run->texts[RL_OUTPUTS], *parts = &run->parts;
    const rl_json_value values = {parts->given ? run->arena.data + parts->at : NULL,
                                  parts->len};
    bool has_text = outputs->given && rl_embed_text_has(run->arena.data + outputs->at,
                                                        outputs->len, rule->path, values);

    return has_text ? RL_OUTBOX_QUEUE : RL_OUTBOX_REQUEUE;
}

void rl_outbox_jobs_init(rl_outbox_jobs *jobs)
{
    rl_buf_init(&jobs->list, RL_BUF_MAX);
    rl_buf_init(&jobs->arena, RL_BUF_MAX);
}

void rl_outbox_jobs_free(rl_outbox_jobs *jobs)
{
    rl_buf_free(&jobs->list);
    rl_buf_free(&jobs->arena);
}

void rl_outbox_jobs_clear(rl_outbox_jobs *jobs)
{
    rl_buf_reset(&jobs->list, RETAINED);
    rl_buf_reset(&jobs->arena, RETAINED);
}

size_t rl_outbox_add_text(rl_outbox_jobs *jobs, const char *text, size_t len)
{
    size_t at = jobs->arena.len;

    rl_buf_add(&jobs->arena, text, len);
    rl_buf_add_char(&jobs->arena, '\0');
    return at;
}

size_t rl_outbox_add_vector(rl_outbox_jobs *jobs, const void *vector, size_t bytes)
{
    size_t at;

    while (jobs->arena.len % sizeof(float) != 0 && !jobs->arena.failed) {
        rl_buf_add_char(&jobs->arena, '\0');
    }
    at = jobs->arena.len;
    rl_buf_add(&jobs->arena, vector, bytes);
    return at;
}
