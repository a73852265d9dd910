/* What is a secret, and is replaced by RL_REDACTED before anything is stored.
 *
 * A set of rules has names, whose values are hidden, and looks: the forms of well-known
 * keys, which are hidden wherever they stand. docs/redaction.md lists both.
 * Threads: any may match, once everything was added. Ownership: the set owns its texts.
 */
#ifndef RL_REDACT_H
#define RL_REDACT_H

#include "core/buf.h"
#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RL_REDACTED "<redacted>"
#define RL_REDACT_DEFAULT "default"

/* The rules that can be switched, by the names in redact.c. */
typedef enum rl_rule {
    RL_RULE_NAMES,  /* names of secrets, by their parts */
    RL_RULE_TEXTS,  /* names and their values inside texts */
    RL_RULE_URLS,   /* passwords in URLs */
    RL_RULE_BEARER, /* "Bearer ..." and "Basic ..." */
    RL_RULE_PEM,    /* private keys */
    RL_RULE_JWT,
    RL_RULE_OPENAI, /* and the many that begin with "sk-" as well */
    RL_RULE_AWS,
    RL_RULE_GOOGLE,
    RL_RULE_GITHUB,
    RL_RULE_GITLAB,
    RL_RULE_SLACK,
    RL_RULE_STRIPE,
    RL_RULE_HUGGINGFACE,
    RL_RULE_PACKAGES, /* npm, PyPI, RubyGems, Docker */
    RL_RULE_CLOUDS,   /* DigitalOcean, Vault, Databricks and others */
    RL_RULE_MAIL,     /* SendGrid, Brevo, Mailgun */
    RL_RULE_MODELS,   /* Groq, LangSmith, Tavily and others */
    RL_RULE_WEBHOOKS, /* Slack's and Discord's: whoever knows the URL may post */
    RL_RULES
} rl_rule;

/* What a name says of its value. */
typedef enum rl_secrecy {
    RL_SHOWN,
    RL_HIDE_TEXT, /* numbers, booleans and None are shown */
    RL_HIDE_ALL
} rl_secrecy;

typedef struct rl_redact_list {
    char **names; /* owned; in lower case, with '_' for '-' */
    size_t count;
} rl_redact_list;

typedef struct rl_redact {
    uint32_t rules;        /* bit r: rule r is on */
    rl_redact_list hidden; /* the user's names */
    rl_redact_list shown;  /* names that are no secrets, whatever their parts say */
    uint64_t salt;         /* another one for each set */
} rl_redact;

static inline bool rl_redact_has(const rl_redact *set, rl_rule rule)
{
    return (set->rules >> rule & 1) != 0;
}

/* Whether texts have to be looked at. */
static inline bool rl_redact_reads_texts(const rl_redact *set)
{
    return set != NULL && (set->rules & ~(UINT32_C(1) << RL_RULE_NAMES)) != 0;
}

/* Adds the items of a list separated by commas, without the white space around them, to a
 * set (at first all zeros): "default" (all rules), "+rule", "-rule", "+name" or "name" (a
 * name whose values are hidden) or "-name" (a name that is no secret). A list whose items
 * all have a sign begins with the default. RL_NOMEM. */
rl_status rl_redact_add(rl_redact *set, const char *list, rl_err *err);
void rl_redact_free(rl_redact *set); /* the members, not the struct */

/* What the name of `len` bytes says of its value. */
rl_secrecy rl_redact_name(const rl_redact *set, const char *name, size_t len);

/* The same by the parts of the name alone: see redact_names.c. */
bool rl_redact_name_parts(const char *name, size_t len);

/* A letter as a bit; other characters share those of letters. */
#define RL_LETTER_BIT(c) (UINT32_C(1) << ((unsigned char)(c)&31))

/* Whether a name with these letters may be that of a secret by its parts. */
bool rl_redact_has_letters(uint32_t bits);

/* Whether two names are the same: ASCII case is ignored, and '-' equals '_'. `known` is
 * in lower case, with '_'. */
bool rl_redact_same(const char *known, const char *name, size_t len);

#endif
