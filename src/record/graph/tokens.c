/* Sums of tokens. See tokens.h. */
#include "record/graph/tokens.h"

#include "core/alloc.h"

#include <string.h>

#define STEP ((size_t)4) /* details that are allocated at a time */

static const char other[] = "other";

static int64_t sum(int64_t one, int64_t another)
{
    return one > INT64_MAX - another ? INT64_MAX : one + another;
}

static bool is_name(const char *name, size_t len)
{
    bool is = len > 0 && len <= RL_DETAIL_NAME;

    for (size_t i = 0; is && i < len; i++) {
        char c = name[i];

        is = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
             c == '_' || c == '-' || c == '.';
    }
    return is;
}

static size_t count_kinds(const rl_tokens *tokens, bool is_output)
{
    size_t count = 0;

    for (size_t i = 0; i < tokens->detail_count; i++) {
        count += tokens->details[i].is_output == is_output;
    }
    return count;
}

static rl_detail *find(const rl_tokens *tokens, bool is_output, const char *name,
                       size_t len)
{
    for (size_t i = 0; i < tokens->detail_count; i++) {
        rl_detail *detail = &tokens->details[i];

        if (detail->is_output == is_output && detail->len == len &&
            memcmp(detail->name, name, len) == 0) {
            return detail;
        }
    }
    return NULL;
}

/* Appends a detail of 0; NULL when there is no memory. */
static rl_detail *append(rl_tokens *to, bool is_output, const char *name, size_t len)
{
    rl_detail *detail;

    if (to->detail_count % STEP == 0) {
        detail = rl_realloc(to->details, (to->detail_count + STEP) * sizeof *detail);
        if (detail == NULL) {
            return NULL;
        }
        to->details = detail;
    }
    detail = &to->details[to->detail_count++];
    *detail = (rl_detail){.is_output = is_output, .len = (unsigned char)len};
    memcpy(detail->name, name, len);
    return detail;
}

bool rl_tokens_add_detail(rl_tokens *to, bool is_output, const char *name, size_t len,
                          int64_t count)
{
    bool is_known = is_name(name, len);
    rl_detail *detail = is_known ? find(to, is_output, name, len) : NULL;

    if (detail == NULL && (!is_known || count_kinds(to, is_output) >= RL_DETAILS_MAX)) {
        name = other;
        len = sizeof other - 1;
        detail = find(to, is_output, name, len);
    }
    if (detail == NULL) {
        detail = append(to, is_output, name, len);
    }
    if (detail != NULL) {
        detail->count = sum(detail->count, count);
    }
    return detail != NULL;
}

bool rl_tokens_add(rl_tokens *to, const rl_tokens *tokens)
{
    bool done = true;

    to->given = true;
    to->input = sum(to->input, tokens->input);
    to->output = sum(to->output, tokens->output);
    to->total = sum(to->total, tokens->total);
    for (size_t i = 0; i < tokens->detail_count; i++) {
        const rl_detail *detail = &tokens->details[i];

        done &= rl_tokens_add_detail(to, detail->is_output, detail->name, detail->len,
                                     detail->count);
    }
    return done;
}

size_t rl_tokens_bytes(const rl_tokens *tokens)
{
    return (tokens->detail_count + STEP - 1) / STEP * STEP * sizeof *tokens->details;
}

void rl_tokens_free(rl_tokens *tokens)
{
    rl_free(tokens->details);
    tokens->details = NULL;
    tokens->detail_count = 0;
}
