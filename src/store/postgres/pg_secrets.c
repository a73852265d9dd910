/* Messages without passwords. See pg_secrets.h. */
#include "store/postgres/pg_secrets.h"

#include "core/alloc.h"
#include "core/text.h"
#include "store/postgres/pg_dsn.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define HIDDEN "***"
#define SECRET_MIN 3 /* bytes: a shorter one is in any message */

/* Replaces a secret by what is not longer. */
static void hide(char *text, const char *secret, size_t len)
{
    const size_t hidden = sizeof HIDDEN - 1;
    char *at = text;

    if (len < SECRET_MIN) {
        return;
    }
    while ((at = memmem(at, strlen(at), secret, len)) != NULL) {
        memmove(at + hidden, at + len, strlen(at + len) + 1);
        memcpy(at, HIDDEN, hidden);
        at += hidden;
    }
}

/* Decodes %XX in place; returns the length. */
static size_t decode(char *text, size_t len)
{
    size_t to = 0;

    for (size_t i = 0; i < len; i++) {
        unsigned high = i + 2 < len ? rl_hex_digit(text[i + 1]) : 16;
        unsigned low = i + 2 < len ? rl_hex_digit(text[i + 2]) : 16;

        if (text[i] == '%' && high < 16 && low < 16) {
            text[to++] = (char)(high << 4 | low);
            i += 2;
        } else {
            text[to++] = text[i];
        }
    }
    return to;
}

/* The password of a URI, as it stands there and decoded. `copy` has room for the DSN. */
static void hide_password_of(char *text, const char *dsn, char *copy)
{
    const char *rest = rl_pg_dsn_uri_rest(dsn), *colon;
    size_t user, len;

    user = rest != NULL ? strcspn(rest, "@/") : 0;
    if (user == 0 || rest[user] != '@') {
        return;
    }
    colon = memchr(rest, ':', user);
    if (colon != NULL) {
        len = (size_t)(rest + user - colon - 1);
        hide(text, colon + 1, len);
        memcpy(copy, colon + 1, len);
        copy[len] = '\0';
        hide(text, copy, decode(copy, len));
    }
}

/* The values that libpq itself marks as passwords, from the DSN, the environment and the
 * service file, and the password that it read from the file of passwords. */
static void hide_values(char *text, const PGconn *pg)
{
    PQconninfoOption *options = PQconninfo((PGconn *)pg);
    const char *password = PQpass(pg);

    for (const PQconninfoOption *one = options; one != NULL && one->keyword != NULL;
         one++) {
        const char *value = one->val;

        if (value != NULL && strcmp(one->keyword, "user") == 0) {
            value = strchr(value, ':'); /* user:password as a user */
            value = value != NULL ? value + 1 : NULL;
        } else if (one->dispchar[0] != '*') {
            value = NULL;
        }
        if (value != NULL) {
            hide(text, value, strlen(value));
        }
    }
    if (password != NULL) {
        hide(text, password, strlen(password));
    }
    PQconninfoFree(options);
}

void rl_pg_set_message(const PGconn *pg, const char *dsn, const char *message,
                       rl_err *err)
{
    const size_t len = strlen(message), room = len + strlen(dsn) + sizeof HIDDEN;
    char *text = rl_malloc(room + strlen(dsn) + 1);

    if (text == NULL) {
        rl_err_set(err, RL_STORE, "PostgreSQL: no memory for its message");
        return;
    }
    memcpy(text, message, len + 1);
    hide_values(text, pg);
    hide_password_of(text, dsn, text + room);
    for (size_t end = strlen(text); end > 0 && text[end - 1] == '\n'; end--) {
        text[end - 1] = '\0';
    }
    rl_err_set(err, RL_STORE, "PostgreSQL: %s", text);
    rl_free(text);
}
