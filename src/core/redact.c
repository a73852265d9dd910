/* A set of rules. See redact.h. */
#include "core/redact.h"

#include "core/alloc.h"

#include <stdatomic.h>
#include <string.h>

#define ALL ((UINT32_C(1) << RL_RULES) - 1)

static const char *const rule_names[RL_RULES] = {
    [RL_RULE_NAMES] = "names",       [RL_RULE_TEXTS] = "texts",
    [RL_RULE_URLS] = "urls",         [RL_RULE_BEARER] = "bearer",
    [RL_RULE_PEM] = "pem",           [RL_RULE_JWT] = "jwt",
    [RL_RULE_OPENAI] = "openai",     [RL_RULE_AWS] = "aws",
    [RL_RULE_GOOGLE] = "google",     [RL_RULE_GITHUB] = "github",
    [RL_RULE_GITLAB] = "gitlab",     [RL_RULE_SLACK] = "slack",
    [RL_RULE_STRIPE] = "stripe",     [RL_RULE_HUGGINGFACE] = "huggingface",
    [RL_RULE_PACKAGES] = "packages", [RL_RULE_CLOUDS] = "clouds",
    [RL_RULE_MAIL] = "mail",         [RL_RULE_MODELS] = "models",
    [RL_RULE_WEBHOOKS] = "webhooks",
};

/* Whatever stands under these names is hidden, numbers as well. */
static const char *const whole_names[] = {"password",      "passwd",  "secret",
                                          "token",         "api_key", "apikey",
                                          "authorization", "cookie"};

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

bool rl_redact_same(const char *known, const char *name, size_t len)
{
    size_t at = 0;

    while (at < len && known[at] != '\0' && fold(name[at]) == known[at]) {
        at++;
    }
    return at == len && known[at] == '\0';
}

static rl_status add_name(rl_redact_list *list, const char *name, size_t len, rl_err *err)
{
    char **names = rl_realloc(list->names, (list->count + 1) * sizeof *names);
    char *copy = NULL;

    if (names != NULL) {
        list->names = names;
        copy = rl_malloc(len + 1);
    }
    if (copy == NULL) {
        return rl_err_nomem(err);
    }
    for (size_t i = 0; i < len; i++) {
        copy[i] = fold(name[i]);
    }
    copy[len] = '\0';
    list->names[list->count++] = copy;
    return RL_OK;
}

static rl_rule rule_of(const char *name, size_t len)
{
    int rule = 0;

    while (rule < RL_RULES && !rl_redact_same(rule_names[rule], name, len)) {
        rule++;
    }
    return (rl_rule)rule;
}

/* One item, without the white space around it. */
static rl_status add_item(rl_redact *set, const char *item, size_t len, rl_err *err)
{
    const bool minus = item[0] == '-', is_signed = minus || item[0] == '+';
    const char *name = item + is_signed;
    rl_rule rule;

    len -= is_signed;
    rule = is_signed ? rule_of(name, len) : RL_RULES;
    if (rule != RL_RULES && minus) {
        set->rules &= ~(UINT32_C(1) << rule);
    } else if (rule != RL_RULES) {
        set->rules |= UINT32_C(1) << rule;
    } else if (!is_signed && rl_redact_same(RL_REDACT_DEFAULT, name, len)) {
        set->rules = ALL;
    } else if (len > 0) {
        return add_name(minus ? &set->shown : &set->hidden, name, len, err);
    }
    return RL_OK;
}

/* The next item of a list; *len is 0 for an empty one. Returns where the list goes on. */
static const char *next_item(const char *list, const char **item, size_t *len)
{
    size_t count = strcspn(list, ",");
    const char *next = list + count + (list[count] == ',');

    while (count > 0 && is_space(list[0])) {
        list++;
        count--;
    }
    while (count > 0 && is_space(list[count - 1])) {
        count--;
    }
    *item = list;
    *len = count;
    return next;
}

/* Whether there are items, and all have a sign. */
static bool is_all_signed(const char *list)
{
    bool all = true, any = false;
    const char *item;
    size_t len;

    while (*list != '\0') {
        list = next_item(list, &item, &len);
        any |= len > 0;
        all = all && (len == 0 || item[0] == '+' || item[0] == '-');
    }
    return any && all;
}

rl_status rl_redact_add(rl_redact *set, const char *list, rl_err *err)
{
    static atomic_uint_fast64_t sets;
    rl_status rc = RL_OK;
    const char *item;
    size_t len;

    set->salt = (atomic_fetch_add(&sets, 1) + 1) * UINT64_C(0x9E3779B97F4A7C15);
    if (is_all_signed(list)) {
        set->rules = ALL;
    }
    while (rc == RL_OK && *list != '\0') {
        list = next_item(list, &item, &len);
        if (len > 0) {
            rc = add_item(set, item, len, err);
        }
    }
    return rc;
}

static void free_list(rl_redact_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        rl_free(list->names[i]);
    }
    rl_free(list->names);
}

void rl_redact_free(rl_redact *set)
{
    free_list(&set->hidden);
    free_list(&set->shown);
    memset(set, 0, sizeof *set);
}

static bool is_in(const char *const *names, size_t count, const char *name, size_t len)
{
    bool found = false;

    for (size_t i = 0; i < count && !found; i++) {
        found = rl_redact_same(names[i], name, len);
    }
    return found;
}

rl_secrecy rl_redact_name(const rl_redact *set, const char *name, size_t len)
{
    const size_t whole = sizeof whole_names / sizeof *whole_names;
    rl_secrecy secrecy = RL_SHOWN;

    if (is_in((const char *const *)set->hidden.names, set->hidden.count, name, len)) {
        secrecy = RL_HIDE_ALL;
    } else if (rl_redact_has(set, RL_RULE_NAMES) && rl_redact_name_parts(name, len) &&
               !is_in((const char *const *)set->shown.names, set->shown.count, name,
                      len)) {
        secrecy = is_in(whole_names, whole, name, len) ? RL_HIDE_ALL : RL_HIDE_TEXT;
    }
    return secrecy;
}
