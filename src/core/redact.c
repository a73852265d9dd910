/* The set of keys to redact. See redact.h. */
#include "core/redact.h"

#include "core/alloc.h"

#include <string.h>

static char fold(char c)
{
    if (c >= 'A' && c <= 'Z') {
        c = (char)(c - 'A' + 'a');
    } else if (c == '-') {
        c = '_';
    }
    return c;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* The filter's bits for a byte in any spelling. 'a' and 'A' have the same low five bits,
 * '_' and '-' have not. */
static uint32_t bits_of(char folded)
{
    uint32_t bits = UINT32_C(1) << (folded & 31);

    return folded == '_' ? bits | UINT32_C(1) << ('-' & 31) : bits;
}

static rl_status add_key(rl_redact *set, const char *key, size_t len, rl_err *err)
{
    char **keys = rl_realloc(set->keys, (set->count + 1) * sizeof *keys);
    char *copy = NULL;

    if (keys != NULL) {
        set->keys = keys;
        copy = rl_malloc(len + 1);
    }
    if (copy == NULL) {
        return rl_err_nomem(err);
    }
    for (size_t i = 0; i < len; i++) {
        copy[i] = fold(key[i]);
    }
    copy[len] = '\0';
    set->keys[set->count++] = copy;
    set->ends[copy[0] & 31] |= bits_of(copy[len - 1]);
    if (copy[0] == '_') {
        set->ends['-' & 31] |= bits_of(copy[len - 1]);
    }
    return RL_OK;
}

rl_status rl_redact_add(rl_redact *set, const char *list, rl_err *err)
{
    rl_status rc = RL_OK;

    while (rc == RL_OK && *list != '\0') {
        size_t len = strcspn(list, ",");
        const char *next = list + len + (list[len] == ',');

        while (len > 0 && is_space(list[0])) {
            list++;
            len--;
        }
        while (len > 0 && is_space(list[len - 1])) {
            len--;
        }
        if (len > 0) {
            rc = add_key(set, list, len, err);
        }
        list = next;
    }
    return rc;
}

void rl_redact_free(rl_redact *set)
{
    for (size_t i = 0; i < set->count; i++) {
        rl_free(set->keys[i]);
    }
    rl_free(set->keys);
    memset(set, 0, sizeof *set);
}

bool rl_redact_find(const rl_redact *set, const char *key, size_t len)
{
    for (size_t i = 0; i < set->count; i++) {
        const char *known = set->keys[i];
        size_t at = 0;

        while (at < len && known[at] != '\0' && fold(key[at]) == known[at]) {
            at++;
        }
        if (at == len && known[at] == '\0') {
            return true;
        }
    }
    return false;
}
