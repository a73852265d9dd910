/* JSON objects as lists of keys and values, for the tests of core/delta.h: a parser, and
 * an expander of deltas, that share no code with it. Texts have memory of the C library,
 * which does not fail. A key includes its quotes.
 */
#ifndef RUNLOG_TESTS_OBJECT_HELP_H
#define RUNLOG_TESTS_OBJECT_HELP_H

#include "check.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MEMBERS 100

struct member {
    char *key, *value;
};

struct object {
    struct member members[MEMBERS];
    size_t count;
};

static inline char *piece_of(const char *from, const char *to)
{
    return strndup(from, (size_t)(to - from));
}

/* The end of the value at `at`, or NULL if there is none. */
static inline const char *skip_value(const char *at)
{
    char close = *at == '{' ? '}' : ']';

    if (*at == '"') {
        for (at++; *at != '"'; at++) {
            at += *at == '\\';
            if (*at == '\0') {
                return NULL;
            }
        }
        return at + 1;
    }
    if (*at != '{' && *at != '[') { /* a number, true, false, null */
        const char *from = at;

        while (isalnum((unsigned char)*at) || strchr("+-.", *at) != NULL) {
            if (*at == '\0') {
                break;
            }
            at++;
        }
        return at > from ? at : NULL;
    }
    at++;
    while (*at != close) {
        if (close == '}') {
            at = *at == '"' ? skip_value(at) : NULL;
            if (at == NULL || *at != ':') {
                return NULL;
            }
            at++;
        }
        at = skip_value(at);
        if (at == NULL || (*at != ',' && *at != close)) {
            return NULL;
        }
        at += *at == ',';
    }
    return at + 1;
}

/* Adds a member, even if the key exists. Both texts are stolen. */
static inline void object_add(struct object *to, char *key, char *value)
{
    if (to->count == MEMBERS) {
        printf("too many members\n");
        abort();
    }
    to->members[to->count++] = (struct member){key, value};
}

static inline void object_drop(struct object *from, size_t index)
{
    free(from->members[index].key);
    free(from->members[index].value);
    from->count--;
    memmove(&from->members[index], &from->members[index + 1],
            (from->count - index) * sizeof(struct member));
}

static inline void object_free(struct object *object)
{
    while (object->count > 0) {
        object_drop(object, object->count - 1);
    }
}

/* The place of the value of a key (of several, the last), or NULL. */
static inline char **object_find(struct object *in, const char *key)
{
    for (size_t i = in->count; i > 0; i--) {
        if (strcmp(in->members[i - 1].key, key) == 0) {
            return &in->members[i - 1].value;
        }
    }
    return NULL;
}

/* Sets the value of a key, as a reader does for each member it finds. */
static inline void object_set(struct object *to, const char *key, const char *value)
{
    char **found = object_find(to, key);

    if (found != NULL) {
        free(*found);
        *found = strdup(value);
    } else {
        object_add(to, strdup(key), strdup(value));
    }
}

/* Reads a text, with its members in order; false when it is not an object. */
static inline bool object_parse(struct object *to, const char *text)
{
    const char *at = text + 1, *end = skip_value(text);

    to->count = 0;
    if (*text != '{' || end == NULL || *end != '\0') {
        return false;
    }
    while (*at == '"') {
        const char *colon = skip_value(at), *end_of_value = skip_value(colon + 1);

        object_add(to, piece_of(at, colon), piece_of(colon + 1, end_of_value));
        at = end_of_value + (*end_of_value == ',');
    }
    return true;
}

/* The text of an object. Owned by the caller. */
static inline char *object_text(const struct object *object)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    fputc('{', out);
    for (size_t i = 0; i < object->count; i++) {
        fprintf(out, "%s%s:%s", i > 0 ? "," : "", object->members[i].key,
                object->members[i].value);
    }
    fputc('}', out);
    fclose(out);
    return text;
}

static inline void object_merge(struct object *to, const struct object *from)
{
    for (size_t i = 0; i < from->count; i++) {
        object_set(to, from->members[i].key, from->members[i].value);
    }
}

/* Whether all members of `part`, as readers see them, are in `whole`. */
static inline bool object_covers(struct object *whole, const struct object *part)
{
    struct object seen = {.count = 0};
    bool covers = true;

    object_merge(&seen, part);
    for (size_t i = 0; i < seen.count && covers; i++) {
        char **found = object_find(whole, seen.members[i].key);

        covers = found != NULL && strcmp(*found, seen.members[i].value) == 0;
    }
    object_free(&seen);
    return covers;
}

static inline bool object_same(struct object *a, struct object *b)
{
    return object_covers(a, b) && object_covers(b, a);
}

/* "[1,2]" and "[3]" as "[1,2,3]". The first is freed. */
static inline char *joined(char *before, const char *tail)
{
    size_t len = strlen(before) + strlen(tail);
    char *whole = malloc(len);

    CHECK(strlen(before) > 2 && before[0] == '[' && strlen(tail) > 2 && tail[0] == '[');
    snprintf(whole, len, "%.*s,%s", (int)strlen(before) - 1, before, tail + 1);
    free(before);
    return whole;
}

static inline void object_append_all(struct object *to, const char *text)
{
    struct object tails;

    CHECK(object_parse(&tails, text) && tails.count > 0);
    for (size_t i = 0; i < tails.count; i++) {
        char **found = object_find(to, tails.members[i].key);

        CHECK(found != NULL);
        if (found != NULL) {
            *found = joined(*found, tails.members[i].value);
        }
    }
    object_free(&tails);
}

static inline void object_set_all(struct object *to, const char *text)
{
    struct object set;

    CHECK(object_parse(&set, text) && set.count > 0);
    object_merge(to, &set);
    object_free(&set);
}

static inline void object_unset_all(struct object *to, const char *text)
{
    const char *at = text + 1, *end;

    CHECK(text[0] == '[' && text[1] == '"');
    for (; *at == '"'; at = end + (*end == ',')) {
        char *key;

        end = skip_value(at);
        key = piece_of(at, end);
        for (size_t i = to->count; i > 0; i--) {
            if (strcmp(to->members[i - 1].key, key) == 0) {
                object_drop(to, i - 1);
            }
        }
        free(key);
    }
}

/* Fills `to` by applying a delta to a copy of its base. */
static inline void object_expand(struct object *to, const struct object *base,
                                 const struct object *delta)
{
    to->count = 0;
    object_merge(to, base);
    CHECK(delta->count > 0 && strcmp(delta->members[0].key, "\"since\"") == 0);
    for (size_t i = 1; i < delta->count; i++) {
        const char *key = delta->members[i].key, *value = delta->members[i].value;

        if (strcmp(key, "\"set\"") == 0) {
            object_set_all(to, value);
        } else if (strcmp(key, "\"append\"") == 0) {
            object_append_all(to, value);
        } else if (strcmp(key, "\"unset\"") == 0) {
            object_unset_all(to, value);
        } else {
            CHECK_STR(key, "a member of a delta");
        }
    }
}

#endif
