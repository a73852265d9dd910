/* Queries for words. See terms.h. */
#include "words/terms.h"

#include "words/plain.h"

#include <stdint.h>
#include <string.h>

#define SPACES " \t\r\n\f\v"
#define TRIGRAM 3

/* A word or a phrase of the user's text. */
typedef struct one_term {
    const char *text;
    size_t len;
    bool is_prefix;
} one_term;

/* Reads the next term and advances *at; false at the end. */
static bool next_term(const char **at, one_term *term)
{
    const char *from = *at + strspn(*at, SPACES);
    const bool quoted = *from == '"';

    from += quoted;
    term->text = from;
    term->len = strcspn(from, quoted ? "\"" : SPACES "\"");
    from += term->len;
    from += quoted && *from == '"';
    term->is_prefix = quoted ? *from == '*' : term->len > 0 && from[-1] == '*';
    from += quoted && term->is_prefix;
    *at = from;
    return term->len > 0 || quoted || *from != '\0';
}

static size_t count_characters(const one_term *term)
{
    size_t count = 0;

    for (size_t i = 0; i < term->len; i++) {
        count += ((unsigned char)term->text[i] & 0xC0) != 0x80;
    }
    return count;
}

/* A string of FTS5 with the term's own characters. */
static rl_status add_raw(const one_term *term, rl_buf *out, rl_err *err)
{
    const size_t len = term->len - (term->is_prefix && term->text[term->len] != '"');
    const one_term whole = {term->text, len, false};

    if (count_characters(&whole) < TRIGRAM) {
        return rl_err_set(err, RL_INVALID,
                          "text has the word '%.*s' of fewer than 3 characters, which an "
                          "index of trigrams can't find",
                          len < 40 ? (int)len : 40, term->text);
    }
    rl_buf_add_char(out, '"');
    for (size_t i = 0; i < len; i++) {
        rl_buf_add(out, "\"\"", term->text[i] == '"' ? 2 : 0);
        rl_buf_add(out, &term->text[i], term->text[i] != '"');
    }
    rl_buf_add_char(out, '"');
    return RL_OK;
}

/* A phrase of FTS5: " a b" becomes "a b", with its quotes. */
static void add_fts5(const rl_buf *words, bool is_prefix, rl_buf *out)
{
    rl_buf_add_char(out, '"');
    rl_buf_add(out, words->data + 1, words->len - 1);
    rl_buf_add_text(out, is_prefix ? "\" *" : "\"");
}

/* A phrase of PostgreSQL: " a b" becomes ('a' <-> 'b'). */
static void add_tsquery(const rl_buf *words, bool is_prefix, rl_buf *out)
{
    rl_buf_add_char(out, '(');
    for (size_t i = 0; i < words->len; i++) {
        if (words->data[i] == ' ') {
            rl_buf_add_text(out, i == 0 ? "'" : "' <-> '");
        } else {
            rl_buf_add_char(out, words->data[i]);
        }
    }
    rl_buf_add_text(out, is_prefix ? "':*)" : "')");
}

/* Appends a term, unless it has no words. *count counts those that have. */
static rl_status add_term(const one_term *term, rl_words_dialect dialect, rl_buf *words,
                          size_t *count, rl_buf *out, rl_err *err)
{
    rl_status status = RL_OK;

    words->len = 0;
    rl_words_plain(term->text, term->len, SIZE_MAX, words);
    if (words->len == 0 || words->failed) {
        return words->failed ? rl_err_nomem(err) : RL_OK;
    }
    if (++*count > RL_WORDS_TERMS_MAX) {
        return rl_err_set(err, RL_INVALID, "text has more than %d words",
                          RL_WORDS_TERMS_MAX);
    }
    if (*count > 1) {
        rl_buf_add_text(out, dialect == RL_WORDS_TSQUERY ? " & " : " AND ");
    }
    switch (dialect) {
    case RL_WORDS_FTS5:
        add_fts5(words, term->is_prefix, out);
        break;
    case RL_WORDS_TSQUERY:
        add_tsquery(words, term->is_prefix, out);
        break;
    case RL_WORDS_TRIGRAM:
        status = add_raw(term, out, err);
        break;
    }
    return status;
}

rl_status rl_words_terms(const char *text, rl_words_dialect dialect, rl_buf *out,
                         rl_err *err)
{
    rl_status status = RL_OK;
    size_t count = 0;
    rl_buf words;
    one_term term;

    rl_buf_init(&words, RL_BUF_MAX);
    while (status == RL_OK && next_term(&text, &term)) {
        status = add_term(&term, dialect, &words, &count, out, err);
    }
    if (status == RL_OK && count == 0) {
        status = rl_err_set(err, RL_INVALID, "text has no words to search for");
    }
    rl_buf_add_char(out, '\0');
    if (status == RL_OK && out->failed) {
        status = rl_err_nomem(err);
    }
    rl_buf_free(&words);
    return status;
}
