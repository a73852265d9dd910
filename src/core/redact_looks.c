/* Keys by their look. See redact_scan.h.
 *
 * Sources: what the services document of their keys, and the patterns that GitHub's secret
 * scanning, gitleaks and detect-secrets publish. A key must be long enough to be one, so
 * that words of prose stay.
 */
#include "core/redact_scan.h"

#include <string.h>

#define DECIDES ((size_t)64) /* characters by which it is decided what is a key */

/* Characters of a key behind its prefix. */
typedef enum charset {
    ALNUM,
    UPPER, /* A-Z 0-9, exactly `least` of them */
    HEX,
    WORD, /* letters, digits, '_' */
    DASH, /* and '-' */
    DOTS, /* and '.' */
    PATH  /* and '/', which may have backslashes before it; '#' in the prefix: digits */
} charset;

typedef struct look {
    const char *prefix;
    rl_rule rule;
    charset chars;
    unsigned least; /* characters behind the prefix */
    bool random;    /* they must not look like words */
} look;

/* In the order of the first characters; of those, the longer prefixes first. */
static const look looks[] = {
    {"AGE-SECRET-KEY-1", RL_RULE_CLOUDS, ALNUM, 20, false},
    {"AIza", RL_RULE_GOOGLE, DASH, 30, true},
    {"AKIA", RL_RULE_AWS, UPPER, 16, false},
    {"ASIA", RL_RULE_AWS, UPPER, 16, false},
    {"ABIA", RL_RULE_AWS, UPPER, 16, false},
    {"ACCA", RL_RULE_AWS, UPPER, 16, false},
    {"GOCSPX-", RL_RULE_GOOGLE, DASH, 20, false},
    {"PMAK-", RL_RULE_CLOUDS, DASH, 24, true},
    {"SG.", RL_RULE_MAIL, DOTS, 32, true},
    {"dapi", RL_RULE_CLOUDS, HEX, 32, false},
    {"dckr_pat_", RL_RULE_PACKAGES, DASH, 16, false},
    {"discord.com/api/v#/webhooks/", RL_RULE_WEBHOOKS, PATH, 16, true},
    {"discord.com/api/webhooks/", RL_RULE_WEBHOOKS, PATH, 16, true},
    {"discordapp.com/api/v#/webhooks/", RL_RULE_WEBHOOKS, PATH, 16, true},
    {"discordapp.com/api/webhooks/", RL_RULE_WEBHOOKS, PATH, 16, true},
    {"doo_v1_", RL_RULE_CLOUDS, HEX, 32, false},
    {"dop_v1_", RL_RULE_CLOUDS, HEX, 32, false},
    {"dor_v1_", RL_RULE_CLOUDS, HEX, 32, false},
    {"dp.pt.", RL_RULE_CLOUDS, ALNUM, 32, false},
    {"figd_", RL_RULE_CLOUDS, DASH, 24, true},
    {"fw_", RL_RULE_MODELS, ALNUM, 20, true},
    {"github_pat_", RL_RULE_GITHUB, WORD, 20, false},
    {"gho_", RL_RULE_GITHUB, ALNUM, 20, false},
    {"ghp_", RL_RULE_GITHUB, ALNUM, 20, false},
    {"ghr_", RL_RULE_GITHUB, ALNUM, 20, false},
    {"ghs_", RL_RULE_GITHUB, ALNUM, 20, false},
    {"ghu_", RL_RULE_GITHUB, ALNUM, 20, false},
    {"gldt-", RL_RULE_GITLAB, DASH, 16, true},
    {"glpat-", RL_RULE_GITLAB, DASH, 16, true},
    {"glptt-", RL_RULE_GITLAB, DASH, 16, true},
    {"glrt-", RL_RULE_GITLAB, DASH, 16, true},
    {"glsa_", RL_RULE_CLOUDS, WORD, 20, false},
    {"gsk_", RL_RULE_MODELS, ALNUM, 20, false},
    {"hf_", RL_RULE_HUGGINGFACE, ALNUM, 20, true},
    {"hooks.slack.com/services/", RL_RULE_WEBHOOKS, PATH, 16, true},
    {"hooks.slack.com/triggers/", RL_RULE_WEBHOOKS, PATH, 16, true},
    {"hooks.slack.com/workflows/", RL_RULE_WEBHOOKS, PATH, 16, true},
    {"hvb.", RL_RULE_CLOUDS, DASH, 20, true},
    {"hvs.", RL_RULE_CLOUDS, DASH, 20, true},
    {"key-", RL_RULE_MAIL, HEX, 32, false},
    {"lin_api_", RL_RULE_CLOUDS, ALNUM, 20, false},
    {"ls__", RL_RULE_MODELS, HEX, 32, false},
    {"lsv2_pt_", RL_RULE_MODELS, WORD, 20, false},
    {"lsv2_sk_", RL_RULE_MODELS, WORD, 20, false},
    {"npm_", RL_RULE_PACKAGES, ALNUM, 20, true},
    {"ntn_", RL_RULE_CLOUDS, ALNUM, 32, false},
    {"nvapi-", RL_RULE_MODELS, DASH, 20, true},
    {"pcsk_", RL_RULE_MODELS, WORD, 20, true},
    {"pplx-", RL_RULE_MODELS, ALNUM, 20, true},
    {"pypi-", RL_RULE_PACKAGES, DASH, 32, true},
    {"r8_", RL_RULE_MODELS, ALNUM, 20, true},
    {"rk_live_", RL_RULE_STRIPE, ALNUM, 10, false},
    {"rk_test_", RL_RULE_STRIPE, ALNUM, 10, false},
    {"rubygems_", RL_RULE_PACKAGES, HEX, 32, false},
    {"shpat_", RL_RULE_CLOUDS, HEX, 32, false},
    {"sk-ant-", RL_RULE_OPENAI, DASH, 10, true},
    {"sk-or-", RL_RULE_OPENAI, DASH, 12, true},
    {"sk-proj-", RL_RULE_OPENAI, DASH, 10, true},
    {"sk-svcacct-", RL_RULE_OPENAI, DASH, 10, true},
    {"sk-", RL_RULE_OPENAI, DASH, 16, true},
    {"sk_live_", RL_RULE_STRIPE, ALNUM, 10, false},
    {"sk_test_", RL_RULE_STRIPE, ALNUM, 10, false},
    {"sntrys_", RL_RULE_CLOUDS, DOTS, 20, true},
    {"sq0atp-", RL_RULE_STRIPE, DASH, 20, true},
    {"tvly-", RL_RULE_MODELS, DASH, 16, true},
    {"whsec_", RL_RULE_STRIPE, ALNUM, 20, true},
    {"xai-", RL_RULE_MODELS, ALNUM, 20, true},
    {"xapp-", RL_RULE_SLACK, DASH, 16, true},
    {"xkeysib-", RL_RULE_MAIL, DASH, 32, true},
    {"xoxa-", RL_RULE_SLACK, DASH, 11, true},
    {"xoxb-", RL_RULE_SLACK, DASH, 11, true},
    {"xoxc-", RL_RULE_SLACK, DASH, 11, true},
    {"xoxd-", RL_RULE_SLACK, DASH, 11, true},
    {"xoxe-", RL_RULE_SLACK, DASH, 11, true},
    {"xoxe.", RL_RULE_SLACK, DOTS, 11, true},
    {"xoxo-", RL_RULE_SLACK, DASH, 11, true},
    {"xoxp-", RL_RULE_SLACK, DASH, 11, true},
    {"xoxr-", RL_RULE_SLACK, DASH, 11, true},
    {"xoxs-", RL_RULE_SLACK, DASH, 11, true},
    {"ya29.", RL_RULE_GOOGLE, DASH, 16, true},
};

#define LOOKS (sizeof looks / sizeof *looks)

/* The place of the first look that begins with a character, or where it would be. */
static size_t first_look(char first)
{
    size_t low = 0, high = LOOKS;

    while (low < high) {
        size_t half = (low + high) / 2;

        if (looks[half].prefix[0] < first) {
            low = half + 1;
        } else {
            high = half;
        }
    }
    return low;
}

static bool is_hex(char c)
{
    return rl_is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool is_of(charset chars, char c)
{
    switch (chars) {
    case UPPER:
        return rl_is_digit(c) || (c >= 'A' && c <= 'Z');
    case HEX:
        return is_hex(c);
    case ALNUM:
        return rl_is_alnum(c);
    case WORD:
        return rl_is_alnum(c) || c == '_';
    case DASH:
        return rl_is_alnum(c) || c == '_' || c == '-';
    case DOTS:
        return rl_is_alnum(c) || c == '_' || c == '-' || c == '.';
    case PATH:
        break;
    }
    return rl_is_alnum(c) || c == '_' || c == '-' || c == '.' || c == '/';
}

/* The end of the characters from a place on, at `most` at the latest. */
static size_t run_end(const rl_scan *scan, size_t at, charset chars, size_t most)
{
    size_t slash;

    while (at < scan->len && at < most) {
        if (is_of(chars, scan->text[at])) {
            at++;
        } else if (chars == PATH && scan->text[at] == '\\' &&
                   (slash = rl_scan_slash(scan, at)) != 0) {
            at = slash;
        } else {
            break;
        }
    }
    return at;
}

/* The end of those of the set DASH. It is remembered: a text of "eyJ-eyJ-eyJ-..." is read
 * once, not once for each of them. */
static size_t dash_end(rl_scan *scan, size_t at)
{
    if (at < scan->dash_from || at >= scan->dash_end) {
        scan->dash_from = at;
        scan->dash_end = run_end(scan, at, DASH, SIZE_MAX);
    }
    return scan->dash_end;
}

/* Whether characters are no words with signs between them: a digit, capitals inside, or
 * `most` letters in a row. */
static bool is_random(const char *text, size_t len, size_t most)
{
    bool random = false;
    size_t row = 0;

    for (size_t i = 0; i < len && !random; i++) {
        bool inside = i > 0 && text[i - 1] >= 'a' && text[i - 1] <= 'z';

        row = rl_is_alnum(text[i]) ? row + 1 : 0;
        random = rl_is_digit(text[i]) || row >= most ||
                 (inside && text[i] >= 'A' && text[i] <= 'Z');
    }
    return random;
}

/* header.payload.signature, in base64url; the header is an object: {"... */
static size_t jwt_end(rl_scan *scan, size_t at)
{
    size_t first = dash_end(scan, at), end = first, next;

    if (rl_scan_at(scan, first) != '.' || first - at < 10) {
        return at;
    }
    for (int i = 0; i < 4 && rl_scan_at(scan, end) == '.'; i++) {
        next = dash_end(scan, end + 1);
        if (i == 0 && next - end <= 6) {
            return at;
        }
        if (next == end + 1) {
            break; /* the end of a sentence */
        }
        end = next;
    }
    return end;
}

/* Goes behind the beginning of a URL; false if it is another one. */
static bool skip_path(const rl_scan *scan, size_t *at, const char *prefix)
{
    size_t next = *at;
    bool same = true;

    for (; *prefix != '\0' && same; prefix++) {
        if (*prefix == '/') {
            next = rl_scan_slash(scan, *at);
            same = next != 0;
        } else if (*prefix == '#') {
            while (rl_is_digit(rl_scan_at(scan, next))) {
                next++;
            }
            same = next > *at;
        } else {
            same = rl_scan_at(scan, next++) == *prefix;
        }
        *at = next;
    }
    return same;
}

/* Goes behind the prefix of a look; false if there is another one. */
static bool skip_prefix(const rl_scan *scan, size_t *at, const look *one)
{
    const size_t len = strlen(one->prefix);

    if (one->chars == PATH) {
        return skip_path(scan, at, one->prefix);
    }
    *at += len;
    return rl_scan_has(scan, *at - len, one->prefix, len);
}

/* The key at a place, if it has this look. Of a URL its prefix is no secret. */
static rl_secret find_look(const rl_scan *scan, size_t at, const look *one)
{
    rl_secret found = {.at = at, .end = at};
    size_t start = at, end;

    if (!skip_prefix(scan, &start, one)) {
        return found;
    }
    end = run_end(scan, start, one->chars, start + DECIDES);
    if (end - start < one->least ||
        (one->chars == UPPER &&
         (end - start != one->least || rl_is_alnum(rl_scan_at(scan, end)))) ||
        (one->random && !is_random(scan->text + start, end - start, 16))) {
        return found;
    }
    end = run_end(scan, end, one->chars, SIZE_MAX);
    while (end > start && scan->text[end - 1] == '.') { /* the end of a sentence */
        end--;
    }
    found.at = one->chars == PATH ? start : at;
    found.end = end;
    return found;
}

rl_secret rl_look_find(rl_scan *scan, size_t at)
{
    const char first = rl_scan_at(scan, at), second = rl_scan_at(scan, at + 1);
    rl_secret found = {.at = at, .end = at};

    if (first == 'e' && rl_redact_has(scan->set, RL_RULE_JWT) &&
        rl_scan_has(scan, at, "eyJ", 3)) {
        found.end = jwt_end(scan, at);
        return found;
    }
    for (size_t i = first_look(first);
         i < LOOKS && looks[i].prefix[0] == first && found.end == at; i++) {
        if (looks[i].prefix[1] == second && rl_redact_has(scan->set, looks[i].rule)) {
            found = find_look(scan, at, &looks[i]);
        }
    }
    return found;
}

static bool is_of_token68(char c)
{
    return rl_is_alnum(c) || (c != '\0' && strchr("-._~+/=", c) != NULL);
}

rl_secret rl_look_after_scheme(const rl_scan *scan, size_t at)
{
    static const char *const schemes[] = {"earer ", "EARER ", "asic ", "ASIC "};
    rl_secret found = {.at = at, .end = at};
    bool after = false;
    size_t len;

    for (size_t i = 0; i < sizeof schemes / sizeof *schemes && !after; i++) {
        len = strlen(schemes[i]);
        after = at > len && memcmp(scan->text + at - len, schemes[i], len) == 0 &&
                (scan->text[at - len - 1] | 0x20) == 'b';
    }
    if (after && rl_redact_has(scan->set, RL_RULE_BEARER)) {
        size_t end = at;

        while (end < scan->len && is_of_token68(scan->text[end])) {
            end++;
        }
        if (end - at >= 16 && is_random(scan->text + at, end - at, 32)) {
            found.end = end;
        }
    }
    return found;
}

rl_secret rl_look_pem(const rl_scan *scan, size_t dashes)
{
    static const char begin[] = "-----BEGIN ", kind[] = "PRIVATE KEY";
    const size_t len = sizeof begin - 1, least = len + sizeof kind - 1;
    rl_secret found = {.at = dashes, .end = dashes};
    const char *end;
    size_t at = dashes;

    if (dashes < least || !rl_redact_has(scan->set, RL_RULE_PEM) ||
        !rl_scan_has(scan, dashes, "-----", 5)) {
        return found;
    }
    while (at > 0 && dashes - at < 64 && !rl_scan_has(scan, at, begin, len)) {
        at--;
    }
    if (rl_scan_has(scan, at, begin, len) &&
        memmem(scan->text + at, dashes - at, kind, sizeof kind - 1) != NULL &&
        memmem(scan->text + at + len, dashes - at - len, "-----", 5) == NULL) {
        found.at = dashes + 5;
        end = memmem(scan->text + found.at, scan->len - found.at, "-----END", 8);
        found.end = end != NULL ? (size_t)(end - scan->text) : scan->len;
    }
    return found;
}
