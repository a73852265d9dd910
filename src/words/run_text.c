/* The text of a run. See run_text.h.
 *
 * One pass over the JSON, whatever its depth: a reader that checks each value first would
 * read it once for each container that holds it. The JSON is valid, as runlog or jsonb
 * wrote it; of other bytes some texts are found, and nothing is read beyond their end.
 */
#include "words/run_text.h"

#include "core/hash.h"
#include "words/plain.h"

#include <string.h>

#define SEEN_LEAST 16  /* bytes: a shorter text may occur again */
#define BASE64_MIN 512 /* bytes */
#define RETAIN ((size_t)1 << 16)

static bool is_key(const rl_words_scan *self, const char *name)
{
    return self->key_len == strlen(name) && memcmp(self->key, name, self->key_len) == 0;
}

/* Members of a log that say what it is, not what it is about. */
static bool is_label(const rl_words_scan *self)
{
    static const char *const names[] = {"status",       "kind",          "started_at",
                                        "tool_call_id", "tools",         "params",
                                        "provider",     "finish_reason", "$of"};
    bool found = false;

    for (size_t i = 0; i < sizeof names / sizeof *names && !found; i++) {
        found = is_key(self, names[i]);
    }
    return found;
}

static bool has_seen(rl_words_scan *self, const char *text, size_t len)
{
    uint64_t hash = rl_hash(text, len), *slot = &self->seen[hash % RL_WORDS_SEEN];
    bool found = *slot == hash;

    *slot = hash;
    return found;
}

/* Whether a long text is base64, of bytes or a picture: by its beginning, or by that of
 * the data of an URL. It would be a long list of words that nobody searches for. */
static bool is_base64(const char *text, size_t len)
{
    static const char mark[] = ";base64,";
    const char *data = len >= BASE64_MIN && memcmp(text, "data:", 5) == 0
                           ? memmem(text, BASE64_MIN / 4, mark, sizeof mark - 1)
                           : NULL;
    const size_t from = data != NULL ? (size_t)(data - text) + sizeof mark - 1 : 0;
    size_t at = from;

    while (at < len && at < from + BASE64_MIN / 2 &&
           ((text[at] >= 'A' && text[at] <= 'Z') ||
            (text[at] >= 'a' && text[at] <= 'z') ||
            (text[at] >= '0' && text[at] <= '9') || text[at] == '+' || text[at] == '/')) {
        at++;
    }
    return len >= BASE64_MIN && at == from + BASE64_MIN / 2;
}

void rl_words_scan_text(rl_words_scan *self, const char *text, size_t len)
{
    size_t room = self->end - self->out->len;

    if (len == 0 || rl_words_scan_is_full(self) ||
        (len >= SEEN_LEAST && has_seen(self, text, len)) || is_base64(text, len)) {
        return;
    }
    if (self->as_words) {
        rl_words_plain(text, len, self->end, self->out);
    } else {
        rl_buf_add(self->out, text, len < room ? len : room);
        rl_buf_add_char(self->out, '\n');
    }
}

/* Adds a string of JSON, with its quotes. */
static void add_string(rl_words_scan *self, const char *string, size_t len)
{
    if (memchr(string, '\\', len) == NULL) {
        rl_words_scan_text(self, string + 1, len - 2);
        return;
    }
    self->text.len = 0;
    (void)rl_json_unescape((rl_json_value){string, len}, &self->text);
    if (self->text.failed) {
        self->out->failed = true;
    } else {
        rl_words_scan_text(self, self->text.data, self->text.len);
    }
}

/* What a container is that begins now: by what it is in, and under which key. */
static rl_words_role role_inside(const rl_words_scan *self)
{
    const rl_words_role outer = self->stack[self->depth - 1].role;
    rl_words_role inner = outer;

    if (outer == RL_WORDS_LOGS) {
        inner = RL_WORDS_LOG;
    } else if (outer == RL_WORDS_LOG && is_label(self)) {
        inner = RL_WORDS_SKIP;
    } else if (outer == RL_WORDS_LOG) {
        inner = is_key(self, "calls") || is_key(self, "events") ? RL_WORDS_LOGS
                                                                : RL_WORDS_PAYLOAD;
    }
    return inner;
}

static void open_container(rl_words_scan *self, rl_words_role outermost)
{
    if (self->depth == RL_JSON_READ_DEPTH) { /* nothing of runlog's is so deep */
        self->at = self->stop;
        return;
    }
    self->stack[self->depth].role = self->depth > 0 ? role_inside(self) : outermost;
    self->stack[self->depth].is_object = *self->at == '{';
    self->depth++;
    self->at++;
}

/* Where the string at self->at ends, behind its quote; NULL if it does not. */
static const char *string_end(const rl_words_scan *self)
{
    const char *at = self->at + 1;

    while (at < self->stop && *at != '"') {
        at += *at == '\\' ? 2 : 1;
    }
    return at < self->stop ? at + 1 : NULL;
}

/* Whether the string before self->at is a key. */
static bool is_followed_by_colon(rl_words_scan *self)
{
    while (self->at < self->stop && *self->at == ' ') {
        self->at++;
    }
    return self->at < self->stop && *self->at == ':' && self->depth > 0 &&
           self->stack[self->depth - 1].is_object;
}

static void read_string(rl_words_scan *self, rl_words_role outermost)
{
    const rl_words_role role =
        self->depth > 0 ? self->stack[self->depth - 1].role : outermost;
    const char *string = self->at, *next = string_end(self);

    self->at = next != NULL ? next : self->stop;
    if (next == NULL) {
        return;
    }
    if (is_followed_by_colon(self)) {
        self->key = string + 1;
        self->key_len = (size_t)(next - string) - 2;
        if (is_key(self, "$value")) { /* the run's parts have the text */
            self->stack[self->depth - 1].role = RL_WORDS_SKIP;
        }
    } else if (role != RL_WORDS_SKIP && !(role == RL_WORDS_LOG && is_label(self))) {
        add_string(self, string, (size_t)(next - string));
    }
}

void rl_words_scan_json(rl_words_scan *self, rl_words_role role, const char *json,
                        size_t len)
{
    self->at = json;
    self->stop = json + len;
    self->depth = self->key_len = 0;
    while (self->at < self->stop && !rl_words_scan_is_full(self)) {
        switch (*self->at) {
        case '"':
            read_string(self, role);
            break;
        case '{':
        case '[':
            open_container(self, role);
            break;
        case '}':
        case ']':
            self->depth -= self->depth > 0;
            self->at++;
            break;
        default:
            self->at++;
        }
    }
}

void rl_words_scan_init(rl_words_scan *self)
{
    rl_buf_init(&self->text, RL_BUF_MAX);
}

void rl_words_scan_free(rl_words_scan *self)
{
    rl_buf_free(&self->text);
}

void rl_words_scan_begin(rl_words_scan *self, bool as_words, size_t most, rl_buf *out)
{
    rl_buf_reset(&self->text, RETAIN);
    memset(self->seen, 0, sizeof self->seen);
    self->out = out;
    self->end = out->len + most;
    self->as_words = as_words;
}
