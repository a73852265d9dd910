/* Embeddings over OpenAI's interface. See openai.h. */
#include "meaning/services/openai.h"

#include "core/alloc.h"
#include "core/json.h"
#include "meaning/services/openai_answer.h"
#include "meaning/services/utf8_prefix.h"
#include "net/failure.h"
#include "net/http.h"

#include <stdio.h>
#include <strings.h>

#define NAME "embeddings"
#define PATH "/embeddings"
#define CUT_MIN \
    32 /* bytes: a text this short is refused for another reason than its length */

/* Bytes of the longest answer: a base, and for each text the longest vector in base64. */
#define ANSWER_BASE ((size_t)2 << 20)
#define ANSWER_TEXT ((size_t)RL_EMBEDDING_DIM_MAX * 4 / 3 * 4 + 1024)

struct rl_openai {
    rl_http *http;  /* owned */
    char *url;      /* owned */
    char *model;    /* owned */
    char **headers; /* owned, and each of them; ended by NULL */
    char **secrets; /* owned, and each of them: the key, values of headers; NULL-ended */
    unsigned dimensions;
    char origin[RL_ORIGIN];
};

/* ---- options ----------------------------------------------------------------------- */

static bool has_control(const char *text)
{
    bool found = false;

    for (; *text != '\0' && !found; text++) {
        found = (unsigned char)*text < 0x20 || *text == 0x7F;
    }
    return found;
}

/* The length of a header's name; 0 when the header is not "Name: value" on one line. */
static size_t name_len(const char *header)
{
    size_t len = strcspn(header, ":");

    if (header[len] != ':' || has_control(header) ||
        strcspn(header, " \t\"(),/;<=>?@[\\]{}") < len) {
        len = 0;
    }
    return len;
}

static rl_status check_headers(const char *const *headers, rl_err *err)
{
    rl_status status = RL_OK;

    for (size_t i = 0; headers != NULL && headers[i] != NULL && status == RL_OK; i++) {
        if (name_len(headers[i]) ==
            0) { /* the error must not quote it: it may be a secret */
            status = rl_err_set(err, RL_CONFIG,
                                "header %zu for the embeddings can't be sent: it must be "
                                "\"Name: value\", without a line break",
                                i + 1);
        }
    }
    return status;
}

static rl_status check_options(const rl_openai_options *options, rl_err *err)
{
    rl_status status = RL_OK;

    if (options->key == NULL || options->key[0] == '\0' || has_control(options->key)) {
        status =
            rl_err_set(err, RL_CONFIG,
                       "OPENAI_KEY can't be sent: it is empty, or has a line break or "
                       "another control character in it");
    } else if (options->model == NULL || options->model[0] == '\0') {
        status = rl_err_set(err, RL_CONFIG, "RUNLOG_EMBEDDING_MODEL is empty");
    } else if (options->dimensions > RL_EMBEDDING_DIM_MAX) {
        status = rl_err_set(err, RL_CONFIG,
                            "embeddings of %u dimensions: at most %d are possible",
                            options->dimensions, RL_EMBEDDING_DIM_MAX);
    } else {
        status = check_headers(options->headers, err);
    }
    return status;
}

/* Whether an '@' stands behind the host: then a password was not percent-encoded, and a
 * part of it is taken for the port or the path. */
static bool is_sign_misplaced(const char *base)
{
    const char *scheme = strstr(base, "://");
    const char *host = scheme != NULL ? scheme + 3 : base;
    const char *end = host + strcspn(host, "/?#");
    const char *colon = memchr(host, ':', (size_t)(end - host));
    const char *first = strchr(host, '@');

    return first != NULL &&
           (first < end ? strchr(first + 1, '@') != NULL : colon != NULL);
}

/* Adds the password of the base URL, as it stands there and decoded, to the secrets. */
static bool add_url_secrets(rl_openai *openai, const char *base, size_t at)
{
    const char *scheme = strstr(base, "://");
    const char *user = scheme != NULL ? scheme + 3 : base;
    const size_t len = strcspn(user, "@/?#");
    const char *colon = user[len] == '@' ? memchr(user, ':', len) : NULL;
    const size_t size = colon != NULL ? (size_t)(user + len - colon - 1) : 0;
    char *given, *plain;
    size_t to = 0;

    if (colon == NULL) {
        return true;
    }
    openai->secrets[at] = given = rl_malloc(size + 1);
    openai->secrets[at + 1] = plain = given != NULL ? rl_malloc(size + 1) : NULL;
    if (plain == NULL) {
        return false;
    }
    memcpy(given, colon + 1, size);
    given[size] = '\0';
    for (size_t i = 0; i < size; i++) {
        unsigned high = given[i] == '%' ? rl_hex_digit(given[i + 1]) : 16;
        unsigned low = high < 16 ? rl_hex_digit(given[i + 2]) : 16;

        plain[to++] = low < 16 ? (char)(high << 4 | low) : given[i];
        i += low < 16 ? 2 : 0;
    }
    plain[to] = '\0';
    return true;
}

/* {base_url}/embeddings, followed by the query of the base URL. */
static rl_status make_url(rl_openai *openai, const char *base, rl_err *err)
{
    const size_t path_end = strcspn(base, "?#");
    const size_t query_len = strcspn(base + path_end, "#");
    const size_t known = sizeof PATH - 1;
    rl_status status = RL_SERVICE;
    size_t len = path_end;
    rl_buf url;

    if (!has_control(base) && !is_sign_misplaced(base)) {
        status = rl_origin(NAME, base, openai->origin, err);
    }
    if (status == RL_NOMEM) {
        return status;
    }
    if (status != RL_OK) {
        return rl_err_set(
            err, RL_CONFIG,
            "OPENAI_BASE_URL can't be used: it must be an http or https URL, like "
            "https://api.openai.com/v1, with special characters in a user or "
            "password percent-encoded (/ is %%2F, @ is %%40)");
    }
    while (len > 0 && base[len - 1] == '/') {
        len--;
    }
    rl_buf_init(&url, RL_BUF_MAX);
    rl_buf_add(&url, base, len);
    if (len < known || memcmp(base + len - known, PATH, known) != 0) {
        rl_buf_add_text(&url, PATH);
    }
    rl_buf_add(&url, base + path_end, query_len);
    rl_buf_add_char(&url, '\0');
    openai->url = url.failed ? NULL : url.data;
    if (url.failed) {
        rl_buf_free(&url);
        return rl_err_nomem(err);
    }
    return RL_OK;
}

/* Whether the user has given a header of this name. */
static bool is_given(const char *const *headers, const char *name)
{
    bool found = false;

    for (; headers != NULL && *headers != NULL && !found; headers++) {
        found = name_len(*headers) == strlen(name) &&
                strncasecmp(*headers, name, strlen(name)) == 0;
    }
    return found;
}

/* Appends `name` and `value` as a header, and `secret`, unless NULL, to the secrets. */
static bool add_header(rl_openai *openai, const char *name, const char *value,
                       const char *secret)
{
    size_t headers = 0, secrets = 0;
    rl_buf text;

    while (openai->headers[headers] != NULL) {
        headers++;
    }
    while (openai->secrets[secrets] != NULL) {
        secrets++;
    }
    rl_buf_init(&text, RL_BUF_MAX);
    rl_buf_add_text(&text, name);
    rl_buf_add_text(&text, value);
    rl_buf_add_char(&text, '\0');
    openai->secrets[secrets] = secret != NULL ? rl_strdup(secret) : NULL;
    if (text.failed || (secret != NULL && openai->secrets[secrets] == NULL)) {
        rl_buf_free(&text);
        return false;
    }
    openai->headers[headers] = text.data;
    return true;
}

static rl_status make_headers(rl_openai *openai, const rl_openai_options *options,
                              rl_err *err)
{
    const char *const *given = options->headers;
    size_t count = 0, at;
    bool made = true;

    while (given != NULL && given[count] != NULL) {
        count++;
    }
    openai->headers = rl_calloc(count + 3, sizeof *openai->headers);
    openai->secrets = rl_calloc(count + 4, sizeof *openai->secrets);
    if (openai->headers == NULL || openai->secrets == NULL) {
        return rl_err_nomem(err);
    }
    if (!is_given(given, "Content-Type")) {
        made = add_header(openai, "Content-Type: ", "application/json", NULL);
    }
    if (is_given(given, "Authorization") || is_given(given, "api-key")) {
        openai->secrets[0] =
            rl_strdup(options->key); /* the given headers may contain it */
        made = made && openai->secrets[0] != NULL;
    } else {
        made = made &&
               add_header(openai, "Authorization: Bearer ", options->key, options->key);
    }
    for (size_t i = 0; i < count && made; i++) {
        const char *value = given[i] + name_len(given[i]) + 1;

        made = add_header(openai, given[i], "", value + strspn(value, " \t"));
    }
    for (at = 0; openai->secrets[at] != NULL; at++) {
    }
    made = made && add_url_secrets(
                       openai, options->base_url != NULL ? options->base_url : "", at);
    return made ? RL_OK : rl_err_nomem(err);
}

rl_status rl_openai_new(const rl_openai_options *options, rl_openai **openai, rl_err *err)
{
    const rl_http_options http = {NAME, options->timeout_ns, options->stop};
    rl_openai *made = NULL;
    rl_status status = check_options(options, err);

    *openai = NULL;
    if (status != RL_OK) {
        return status;
    }
    made = rl_calloc(1, sizeof *made);
    if (made == NULL) {
        return rl_err_nomem(err);
    }
    made->dimensions = options->dimensions;
    status = make_url(made, options->base_url != NULL ? options->base_url : "", err);
    if (status == RL_OK) {
        status = make_headers(made, options, err);
    }
    if (status == RL_OK) {
        made->model = rl_strdup(options->model);
        status = made->model != NULL ? rl_http_new(&http, &made->http, err)
                                     : rl_err_nomem(err);
    }
    if (status == RL_OK) {
        *openai = made;
    } else {
        rl_openai_free(made);
    }
    return status;
}

static void free_texts(char **texts)
{
    for (char **one = texts; one != NULL && *one != NULL; one++) {
        rl_free(*one);
    }
    rl_free(texts);
}

void rl_openai_free(rl_openai *openai)
{
    if (openai != NULL) {
        rl_http_free(openai->http);
        free_texts(openai->headers);
        free_texts(openai->secrets);
        rl_free(openai->model);
        rl_free(openai->url);
        rl_free(openai);
    }
}

void rl_openai_abandon(rl_openai *openai)
{
    rl_http_abandon(openai->http);
}

void rl_embeddings_free(rl_embeddings *embeddings)
{
    rl_free(embeddings->values);
    memset(embeddings, 0, sizeof *embeddings);
}

/* ---- requests ---------------------------------------------------------------------- */

typedef struct rl_embedding {
    rl_openai *openai;
    rl_embed_text *texts; /* borrowed */
    size_t count;
    unsigned attempts;
    uint64_t end;
    rl_embeddings *embeddings; /* borrowed */
    size_t embedded;           /* texts */
    bool works;                /* the server has accepted a request */
    rl_http_answer answer;
    rl_buf body;        /* of the request */
    char said[RL_SAID]; /* the server's message about the last request */
} rl_embedding;

#define KEY(name) (name), sizeof(name) - 1

static rl_status write_body(rl_embedding *self, const rl_embed_text *texts, size_t count)
{
    rl_json json;

    rl_buf_reset(&self->body, (size_t)1 << 20);
    rl_json_begin(&json, &self->body, RL_BUF_MAX / 2);
    rl_json_open(&json, '{');
    rl_json_key(&json, KEY("model"));
    rl_json_text(&json, self->openai->model, strlen(self->openai->model));
    rl_json_key(&json, KEY("encoding_format"));
    rl_json_text(&json, KEY("base64"));
    if (self->openai->dimensions != 0) {
        rl_json_key(&json, KEY("dimensions"));
        rl_json_int(&json, self->openai->dimensions);
    }
    rl_json_key(&json, KEY("input"));
    rl_json_open(&json, '[');
    for (size_t i = 0; i < count; i++) {
        rl_json_text(&json, texts[i].text, texts[i].used);
    }
    rl_json_close(&json);
    rl_json_close(&json);
    rl_json_end(&json);
    return self->body.failed ? RL_NOMEM : RL_OK;
}

/* Returns RL_SERVICE, not retryable, with the server's message. */
static rl_status fail(rl_embedding *self, const char *what, rl_err *err)
{
    return rl_err_set(err, RL_SERVICE, "%s at %s: %s%s%s", NAME, self->openai->origin,
                      what, self->said[0] != '\0' ? ": " : "", self->said);
}

/* Appends the server's message to the error of a 429 or 5xx. */
static void add_said(const rl_embedding *self, rl_err *err)
{
    char text[RL_ERR_TEXT];
    rl_err before;

    if (err != NULL && self->said[0] != '\0') {
        before = *err;
        memcpy(text, err->text, sizeof text);
        rl_err_set(err, before.code, "%s: %s", text, self->said);
        err->retryable = before.retryable;
        err->retry_after_ns = before.retry_after_ns;
    }
}

/* A status that may be about one text, or about the whole request. */
static bool is_refusal(long status)
{
    return status == 400 || status == 413 || status == 422;
}

/* The error of a status that is about the whole request. */
static rl_status fail_by_status(rl_embedding *self, rl_err *err)
{
    const long status = self->answer.status;
    char what[120];

    if (rl_openai_is_quota(&self->answer)) {
        return fail(self, "the quota is used up (insufficient_quota)", err);
    }
    if (status == 401 || status == 403) {
        snprintf(what, sizeof what, "the key is refused (OPENAI_KEY; answered %ld)",
                 status);
        self->said[0] = '\0'; /* it may quote the key, only partly masked */
    } else if (status == 404) {
        snprintf(what, sizeof what,
                 "the model or the URL does not exist (RUNLOG_EMBEDDING_MODEL, "
                 "OPENAI_BASE_URL; answered 404)");
    } else if (status >= 300 && status < 400) {
        snprintf(what, sizeof what,
                 "answered %ld, and redirects are not followed (OPENAI_BASE_URL)",
                 status);
    } else {
        snprintf(what, sizeof what, "answered %ld", status);
    }
    return fail(self, what, err);
}

/* Sends one request. RL_OK also for a refusal, which answer.status shows. */
static rl_status post(rl_embedding *self, const rl_embed_text *texts, size_t count,
                      rl_err *err)
{
    const rl_openai *openai = self->openai;
    rl_http_request request = {.url = openai->url,
                               .headers = (const char *const *)openai->headers,
                               .max_answer = ANSWER_BASE + count * ANSWER_TEXT,
                               .is_final = rl_openai_is_quota};
    rl_status status = write_body(self, texts, count);

    if (status != RL_OK) {
        return rl_err_nomem(err);
    }
    request.body = self->body.data;
    request.len = self->body.len;
    status = rl_http_post(openai->http, &request, self->attempts, self->end,
                          &self->answer, err);
    self->said[0] = '\0';
    if (self->answer.status >= 300 &&
        !rl_openai_read_message(&self->answer.body, (const char *const *)openai->secrets,
                                self->said)) {
        return rl_err_nomem(err);
    }
    if (status == RL_SERVICE) {
        add_said(self, err);
    } else if (status == RL_OK && !is_refusal(self->answer.status) &&
               (self->answer.status < 200 || self->answer.status >= 300)) {
        status = fail_by_status(self, err);
    }
    return status;
}

/* Embeds some of the texts by one request; *refused when the server refuses it. */
static rl_status embed_some(rl_embedding *self, size_t first, size_t count, bool *refused,
                            rl_err *err)
{
    const rl_vectors_into into = {.values = &self->embeddings->values,
                                  .dim = &self->embeddings->dim,
                                  .rows = self->count,
                                  .first = first,
                                  .dim_wanted = self->openai->dimensions,
                                  .dim_max = RL_EMBEDDING_DIM_MAX};
    rl_status status = post(self, self->texts + first, count, err);
    char why[RL_WHY] = "", what[RL_WHY + 40];

    *refused = status == RL_OK && is_refusal(self->answer.status);
    if (status != RL_OK || *refused) {
        return status;
    }
    status = rl_openai_read_vectors(&self->answer.body, count, &into, why);
    if (status == RL_NOMEM) {
        rl_err_nomem(err);
    } else if (status != RL_OK) {
        snprintf(what, sizeof what, "the answer is invalid: %s", why);
        status = fail(self, what, err);
        if (err != NULL) {
            err->garbled = true;
        }
    } else {
        self->embedded += count;
        self->works = true;
    }
    return status;
}

/* Before a refusal is blamed on a text: a server refuses every request for a model that
 * can't embed, or for dimensions that the model does not have. So this tries a harmless
 * word, once. */
static rl_status check_works(rl_embedding *self, rl_err *err)
{
    const rl_embed_text probe = {.text = "text", .len = 4, .used = 4};
    char said[RL_SAID], what[60];
    const long answered = self->answer.status;
    rl_status status = RL_OK;

    if (!self->works) {
        memcpy(said, self->said, sizeof said);
        status = post(self, &probe, 1, err);
        self->works = status == RL_OK && !is_refusal(self->answer.status);
        memcpy(self->said, said, sizeof said);
        if (status == RL_OK && !self->works) {
            snprintf(what, sizeof what, "every request is refused (answered %ld)",
                     answered);
            status = fail(self, what, err);
        }
        self->answer.status = answered;
    }
    return status;
}

/* Whether a text was refused for its length; each server has its own message for that. */
static bool is_too_long(const rl_embedding *self)
{
    static const char *const words[] = {"token",     "context length", "too long",
                                        "too large", "length",         "too many",
                                        "exceed"};
    bool found = self->answer.status == 413;

    for (size_t i = 0; i < sizeof words / sizeof *words && !found; i++) {
        found = strcasestr(self->said, words[i]) != NULL;
    }
    return found;
}

/* Embeds a text that was refused alone: halves it while it is too long. */
static rl_status embed_shorter(rl_embedding *self, size_t at, rl_err *err)
{
    rl_embed_text *text = &self->texts[at];
    rl_status status = check_works(self, err);
    bool refused = true;

    while (status == RL_OK && refused && text->used / 2 >= CUT_MIN && is_too_long(self)) {
        text->used = rl_utf8_prefix(text->text, text->len, text->used / 2);
        status = embed_some(self, at, 1, &refused, err);
    }
    if (status == RL_OK && refused) {
        text->used = 0;
        text->refused = true;
    }
    return status;
}

/* Embeds texts by one request, or half by half when the server refuses it. The recursion
 * is at most log2(RL_OPENAI_TEXTS) deep. */
static rl_status embed_range(rl_embedding *self, size_t first, size_t count, rl_err *err)
{
    bool refused = false;
    rl_status status = embed_some(self, first, count, &refused, err);

    if (status == RL_OK && refused && count == 1) {
        status = embed_shorter(self, first, err);
    } else if (status == RL_OK && refused) {
        status = embed_range(self, first, count / 2, err);
        if (status == RL_OK) {
            status = embed_range(self, first + count / 2, count - count / 2, err);
        }
    }
    return status;
}

/* How many texts from `first` on fit into one request. */
static size_t fill_request(const rl_embedding *self, size_t first)
{
    size_t count = 0, bytes = 0;

    while (first + count < self->count && count < RL_OPENAI_TEXTS &&
           bytes + self->texts[first + count].used <= RL_OPENAI_REQUEST) {
        bytes += self->texts[first + count].used;
        count++;
    }
    return count;
}

static rl_status embed_all(rl_embedding *self, rl_err *err)
{
    rl_status status = RL_OK;
    size_t first = 0, count;

    for (size_t i = 0; i < self->count; i++) {
        rl_embed_text *text = &self->texts[i];

        text->used = rl_utf8_prefix(text->text, text->len, RL_OPENAI_TEXT);
        text->refused = false;
    }
    while (status == RL_OK && first < self->count) {
        count = fill_request(self, first);
        status = embed_range(self, first, count, err);
        first += count;
    }
    if (status == RL_OK && self->embedded == 0 && self->count > 0) {
        char what[60];

        snprintf(what, sizeof what, "the text is rejected (answered %ld)",
                 self->answer.status);
        status = fail(self, what, err);
        if (err != NULL) {
            err->rejected = true;
        }
    }
    return status;
}

rl_status rl_openai_embed(rl_openai *openai, rl_embed_text *texts, size_t count,
                          unsigned attempts, uint64_t end, rl_embeddings *embeddings,
                          rl_err *err)
{
    rl_embedding self = {.openai = openai,
                         .texts = texts,
                         .count = count,
                         .attempts = attempts,
                         .end = end,
                         .embeddings = embeddings};
    rl_status status;

    memset(embeddings, 0, sizeof *embeddings);
    rl_http_answer_init(&self.answer);
    rl_buf_init(&self.body, RL_BUF_MAX);
    status = embed_all(&self, err);
    embeddings->count = count;
    if (status != RL_OK) {
        rl_embeddings_free(embeddings);
    }
    rl_buf_free(&self.body);
    rl_http_answer_free(&self.answer);
    return status;
}
