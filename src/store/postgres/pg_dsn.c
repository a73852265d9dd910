/* A connection string. See pg_dsn.h. */
#include "store/postgres/pg_dsn.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENCODE                                                                    \
    "percent-encode special characters in the user and the password (/ is %%2F, " \
    "@ is %%40, ? is %%3F, # is %%23)"

/* What libpq itself checks only when it connects. A wrong value is a permanent error;
 * without this check it would look like an unavailable server. */
static const struct {
    const char *keyword, *values; /* each between two spaces */
} checked[] = {
    {"sslmode", " disable allow prefer require verify-ca verify-full "},
    {"target_session_attrs", " any read-write read-only primary standby prefer-standby "},
    {"channel_binding", " disable prefer require "},
    {"gssencmode", " disable prefer require "},
};

const char *rl_pg_dsn_uri_rest(const char *dsn)
{
    static const char *const schemes[] = {"postgresql://", "postgres://"};
    const char *rest = NULL;

    for (size_t i = 0; i < sizeof schemes / sizeof *schemes && rest == NULL; i++) {
        if (strncmp(dsn, schemes[i], strlen(schemes[i])) == 0) {
            rest = dsn + strlen(schemes[i]);
        }
    }
    return rest;
}

/* In a URI, also one within a query: there it is written %40. */
bool rl_pg_dsn_is_misplaced(const char *dsn)
{
    const char *rest = rl_pg_dsn_uri_rest(dsn), *host;
    size_t user;

    if (rest == NULL) {
        return false;
    }
    user = strcspn(rest, "@/"); /* as libpq looks for the user and the password */
    host = rest[user] == '@' ? rest + user + 1 : rest;
    return strchr(host, '@') != NULL;
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           c == '_';
}

static const char *skip_back(const char *value, const char *at, bool spaces)
{
    while (at > value && (spaces ? at[-1] == ' ' : is_word(at[-1]))) {
        at--;
    }
    return at;
}

/* Whether a value goes on with another setting, as where a semicolon or a comma separates
 * them: "; name = ". */
static bool has_setting(const char *value)
{
    bool found = false;

    for (const char *sign = value; !found && (sign = strchr(sign, '=')) != NULL; sign++) {
        const char *end = skip_back(value, sign, true);
        const char *word = skip_back(value, end, false);
        const char *before = skip_back(value, word, true);

        found = word < end && before > value && strchr(";,&", before[-1]) != NULL;
    }
    return found;
}

/* Whether a host has a colon and is neither a path nor a list of addresses. */
static bool is_pair(const char *host)
{
    return host[0] != '/' && strchr(host, ':') != NULL &&
           host[strspn(host, "0123456789abcdefABCDEF:.,")] != '\0' &&
           strchr(host, '%') == NULL;
}

static bool is_port(const char *value)
{
    return value[strspn(value, "0123456789, ")] == '\0';
}

/* Whether the value of a setting that messages show may have a user, a password or another
 * setting in it. */
static bool is_suspect(const PQconninfoOption *one)
{
    static const char names[] = " host hostaddr user dbname service ";
    const char *keyword = one->keyword, *value = one->val;
    const char *colon = value != NULL ? strchr(value, ':') : NULL;
    char spaced[40];

    if (value == NULL || one->dispchar[0] == '*') {
        return false;
    }
    snprintf(spaced, sizeof spaced, " %s ", keyword);
    if (strstr(value, "://") != NULL || has_setting(value) ||
        (colon != NULL && strchr(colon, '@') != NULL)) {
        return true;
    }
    return strstr(names, spaced) != NULL &&
           (strpbrk(value, ";=") != NULL ||
            (strcmp(keyword, "user") == 0 && colon != NULL) ||
            (strncmp(keyword, "host", 4) == 0 &&
             (is_pair(value) || (value[0] != '\0' && strchr(value + 1, '@') != NULL))));
}

static rl_status check_option(const PQconninfoOption *one, const char *name, rl_err *err)
{
    char spaced[60];

    if (strcmp(one->keyword, "port") == 0 && !is_port(one->val)) {
        return rl_err_set(
            err, RL_STORE,
            "PostgreSQL: port in %s must be a number: give one, and " ENCODE, name);
    }
    if (is_suspect(one)) {
        return rl_err_set(err, RL_STORE,
                          "PostgreSQL: %s in %s can't be a URL, or have a user, a "
                          "password or another setting in it: separate settings by "
                          "spaces, and " ENCODE,
                          one->keyword, name);
    }
    snprintf(spaced, sizeof spaced, " %s ", one->val);
    for (size_t i = 0; i < sizeof checked / sizeof *checked; i++) {
        if (strcmp(one->keyword, checked[i].keyword) == 0 &&
            strstr(checked[i].values, spaced) == NULL) {
            return rl_err_set(err, RL_STORE, "PostgreSQL: %s in %s must be one of:%s",
                              one->keyword, name, checked[i].values);
        }
    }
    return RL_OK;
}

static void read_hosts(const PQconninfoOption *option, rl_pg_dsn *found)
{
    unsigned count = 1;
    long seconds;

    if (strcmp(option->keyword, "connect_timeout") == 0) {
        seconds = strtol(option->val, NULL, 10);
        found->timeout_ns =
            seconds > 0 && seconds < 3600 ? (uint64_t)seconds * UINT64_C(1000000000) : 0;
    } else if (strncmp(option->keyword, "host", 4) == 0) { /* host, hostaddr */
        for (const char *at = option->val; (at = strchr(at, ',')) != NULL; at++) {
            count++;
        }
        found->count = count > found->count ? count : found->count;
    }
}

rl_status rl_pg_dsn_check(const char *dsn, const char *name, rl_pg_dsn *found,
                          rl_err *err)
{
    char *message = NULL; /* libpq's own may quote the password */
    PQconninfoOption *options = PQconninfoParse(dsn, &message);
    rl_status status = RL_OK;

    *found = (rl_pg_dsn){1, 0};
    if (options == NULL && message == NULL) {
        status = rl_err_nomem(err);
    } else if (options == NULL) {
        status = rl_err_set(err, RL_STORE,
                            "PostgreSQL: %s can't be parsed: give a URI "
                            "(postgresql://user@host/dbname) or keywords and values "
                            "(host=... dbname=...), and " ENCODE,
                            name);
    } else if (rl_pg_dsn_is_misplaced(dsn)) {
        status = rl_err_set(err, RL_STORE,
                            "PostgreSQL: %s has an @ after the one that ends the user "
                            "and the password: " ENCODE,
                            name);
    }
    for (const PQconninfoOption *one = options;
         one != NULL && one->keyword != NULL && status == RL_OK; one++) {
        if (one->val != NULL) {
            status = check_option(one, name, err);
            read_hosts(one, found);
        }
    }
    PQconninfoFree(options);
    PQfreemem(message);
    return status;
}

bool rl_pg_dsn_has_secret(const char *dsn)
{
    PQconninfoOption *options = PQconninfoParse(dsn, NULL);
    bool secret = options == NULL;

    for (const PQconninfoOption *one = options; one != NULL && one->keyword != NULL;
         one++) {
        /* libpq marks what a program should not show */
        secret = secret || (one->val != NULL && strcmp(one->dispchar, "*") == 0);
    }
    PQconninfoFree(options);
    return secret;
}

rl_status rl_pg_settings_read(rl_pg_settings *settings, const char *dsn, rl_err *err)
{
    char *message = NULL;

    settings->given = PQconninfoParse(dsn, &message);
    settings->defaults = PQconndefaults();
    settings->parsed = settings->given != NULL;
    if (settings->defaults == NULL || (!settings->parsed && message == NULL)) {
        rl_pg_settings_free(settings);
        rl_err_nomem(err); /* half of them would be those of another database */
    }
    PQfreemem(message);
    return settings->defaults != NULL ? RL_OK : RL_NOMEM;
}

void rl_pg_settings_free(rl_pg_settings *settings)
{
    PQconninfoFree(settings->given);
    PQconninfoFree(settings->defaults);
    *settings = (rl_pg_settings){NULL, NULL, false};
}

bool rl_pg_settings_are_suspect(const rl_pg_settings *settings)
{
    bool found = false;

    for (const PQconninfoOption *one = settings->given;
         one != NULL && one->keyword != NULL && !found; one++) {
        found = is_suspect(one) || (one->val != NULL && !is_port(one->val) &&
                                    strcmp(one->keyword, "port") == 0);
    }
    return found;
}

static const char *value_of(const PQconninfoOption *options, const char *keyword)
{
    while (options != NULL && options->keyword != NULL &&
           strcmp(options->keyword, keyword) != 0) {
        options++;
    }
    return options != NULL && options->keyword != NULL && options->val != NULL
               ? options->val
               : "";
}

const char *rl_pg_setting(const rl_pg_settings *settings, const char *keyword)
{
    const char *value = value_of(settings->given, keyword);

    return value[0] != '\0' ? value : value_of(settings->defaults, keyword);
}

const char *rl_pg_setting_database(const rl_pg_settings *settings)
{
    const char *name = rl_pg_setting(settings, "dbname");

    return name[0] != '\0' ? name : rl_pg_setting(settings, "user");
}

const char *rl_pg_plain_host(const char *host)
{
    bool local = strcmp(host, "127.0.0.1") == 0 || strcmp(host, "::1") == 0;

    return local ? "localhost" : host;
}

bool rl_pg_dsn_place(const char *dsn, rl_buf *place)
{
    static const char *const others[] = {"port", "user", "options", "service"};
    rl_pg_settings settings;
    const char *host;
    bool known = rl_pg_settings_read(&settings, dsn, NULL) == RL_OK && settings.parsed;

    host = rl_pg_setting(&settings, "hostaddr");
    rl_buf_add_text(
        place,
        rl_pg_plain_host(host[0] != '\0' ? host : rl_pg_setting(&settings, "host")));
    rl_buf_add(place, "\n", 1);
    rl_buf_add_text(place, rl_pg_setting_database(&settings));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        rl_buf_add(place, "\n", 1);
        rl_buf_add_text(place, rl_pg_setting(&settings, others[i]));
    }
    rl_pg_settings_free(&settings);
    return known && !place->failed;
}
