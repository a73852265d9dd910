/* The search for secrets in a text. See redact_text.h.
 *
 * What can begin or end a secret is rare in prose: a colon or an equals sign (a name and
 * its value, a URL), and 16 characters without a space, a quote or a comma (a key).
 * Windows of 64 bytes are searched for these first.
 */
#include "core/redact_text.h"

#include "core/redact_scan.h"

#include <string.h>

#define STEP (RL_WINDOW - RL_ROW + 1) /* from one window to the next */

/* The places in the window at `at` where something may begin. Not more than the text is
 * read of a plain one, where each word may be the beginning. Signs that the next window
 * has as well are left to it. */
static uint64_t suspects(const rl_scan *scan, size_t at)
{
    const size_t left = scan->len - at, len = left < RL_WINDOW ? left : RL_WINDOW;
    uint64_t signs, rows;
    char last[RL_WINDOW];

    if (!scan->escaped) {
        return len < 64 ? (UINT64_C(1) << len) - 1 : ~UINT64_C(0);
    }
    if (left >= RL_WINDOW || scan->slack) {
        rows = rl_window_rows(scan->text + at, len, &signs);
    } else {
        memset(last, ' ', sizeof last);
        memcpy(last, scan->text + at, len);
        rows = rl_window_rows(last, len, &signs);
    }
    if (left > RL_WINDOW) {
        signs &= (UINT64_C(1) << STEP) - 1;
    }
    return rows | signs;
}

static bool is_end(char c)
{
    return (signed char)c < '-' || c == ':' || c == '=';
}

/* The place behind an escape: of white space, or of anything else. */
static size_t skip_escape(const rl_scan *scan, size_t at)
{
    while (rl_scan_at(scan, at) == '\\') {
        at++;
    }
    if (rl_is_space_letter(rl_scan_at(scan, at))) {
        at++;
    } else if (rl_scan_at(scan, at) == 'u') {
        for (unsigned i = 0; i < 5 && rl_is_alnum(rl_scan_at(scan, at)); i++) {
            at++;
        }
    }
    return at;
}

/* The first line of a private key may end just before a row. */
static rl_secret pem_before(const rl_scan *scan, size_t at)
{
    size_t end = at;

    while (end > 0 && at - end < 4 && (unsigned char)scan->text[end - 1] <= ' ') {
        end--;
    }
    return rl_look_pem(scan, end >= 5 ? end - 5 : 0);
}

/* Where a key may begin that stands right behind a percent-encoded character (%3D) or a
 * colour of a terminal ([1;31m), or `at` itself: letters and digits of these are none of
 * it. */
static size_t behind_code(const rl_scan *scan, size_t at)
{
    const char before = at > 0 ? scan->text[at - 1] : '\0';
    size_t end = at;

    if (before == '%' && rl_is_alnum(rl_scan_at(scan, at + 1))) {
        end = at + 2;
    } else if (before == '[' || before == ';') {
        while (rl_is_digit(rl_scan_at(scan, end))) {
            end++;
        }
        end = rl_scan_at(scan, end) == 'm' ? end + 1 : at;
    }
    return end;
}

/* Searches a row of characters; returns its end, or where the search goes on. */
static size_t search_row(rl_scan *scan, size_t at, rl_secret *found)
{
    bool begins = at == 0 || !rl_is_alnum(scan->text[at - 1]);

    *found = pem_before(scan, at);
    if (found->at == found->end) {
        *found = rl_look_after_scheme(scan, at);
    }
    if (at >= 8 && memcmp(scan->text + at - 8, ";base64,", 8) == 0) {
        begins = false;
    }
    while (found->at == found->end && at < scan->len && !is_end(scan->text[at])) {
        if (scan->text[at] == '\\') {
            at = skip_escape(scan, at);
            begins = true;
        } else if (rl_is_alnum(scan->text[at])) {
            if (begins) {
                const size_t behind = behind_code(scan, at);

                *found = rl_look_find(scan, at);
                if (found->at == found->end && behind > at) {
                    *found = rl_look_find(scan, behind);
                }
            }
            while (rl_is_alnum(rl_scan_at(scan, at))) {
                at++;
            }
        } else {
            if (scan->text[at] == '-') {
                *found = rl_look_pem(scan, at);
            }
            begins = true;
            at++;
        }
    }
    return at;
}

/* Searches at a place where something may begin. */
static size_t search_at(rl_scan *scan, size_t at, rl_secret *found)
{
    const char c = scan->text[at];

    *found = (rl_secret){.at = at, .end = at};
    if ((signed char)c < '-') {
        return at + 1;
    }
    if (c != ':' && c != '=') {
        return search_row(scan, at, found);
    }
    if (c == ':' && rl_scan_authority(scan, at) != 0) {
        if (rl_redact_has(scan->set, RL_RULE_URLS)) {
            *found = rl_url_find(scan, at);
        }
    } else if (rl_redact_has(scan->set, RL_RULE_TEXTS)) {
        *found = rl_pair_find(scan, at);
    }
    return at + 1;
}

static void add_quote(rl_buf *out, const rl_secret *secret)
{
    for (unsigned i = 1; i < secret->quotes; i++) {
        rl_buf_add_char(out, '\\');
    }
    if (secret->quotes > 0) {
        rl_buf_add_char(out, secret->quote);
    }
}

/* Appends what of the bytes [at, end) is inside of [from, to). */
static void add_part(rl_buf *out, const char *text, size_t at, size_t end, size_t from,
                     size_t to)
{
    at = at > from ? at : from;
    end = end < to ? end : to;
    if (at < end) {
        rl_buf_add(out, text + at, end - at);
    }
}

/* What is found goes to `out`. */
typedef struct rl_copy {
    size_t from, to; /* of the text: what is wanted */
    size_t done;     /* up to here it is in `out` */
    bool any;
    rl_buf *out;
} rl_copy;

/* Replaces a secret; returns where the search goes on. */
static size_t hide(const rl_scan *scan, const rl_secret *found, rl_copy *copy)
{
    if (found->end > copy->from && found->at < copy->to) {
        copy->any = true;
        add_part(copy->out, scan->text, copy->done, found->at, copy->from, copy->to);
        add_quote(copy->out, found);
        rl_buf_add_text(copy->out, RL_REDACTED);
        add_quote(copy->out, found);
        copy->done = found->end;
    }
    return found->end;
}

/* Searches the window at a place; returns where the next one begins. */
static size_t search_window(rl_scan *scan, size_t window, rl_copy *copy)
{
    const size_t step = scan->escaped ? STEP : RL_WINDOW;
    const size_t next = scan->len - window <= RL_WINDOW ? scan->len : window + step;
    uint64_t places = suspects(scan, window);
    size_t at = window;

    while (places != 0) {
        rl_secret found;

        at = search_at(scan, window + (size_t)__builtin_ctzll(places), &found);
        if (found.at < found.end) {
            at = hide(scan, &found, copy);
        }
        places = at - window < 64 ? places & ~UINT64_C(0) << (at - window) : 0;
    }
    return at > next ? at : next;
}

bool rl_redact_text(const rl_redact *set, const char *text, size_t len, rl_text_form form,
                    size_t from, size_t to, rl_buf *out)
{
    rl_scan scan = {.set = set,
                    .text = text,
                    .len = len,
                    .escaped = form != RL_PLAIN,
                    .slack = form == RL_ESCAPED};
    rl_copy copy = {.from = from, .to = to, .done = from, .out = out};

    if (!rl_redact_reads_texts(set) || len < RL_REDACT_LEAST) {
        return false;
    }
    for (size_t at = 0; at < to && at < len;) {
        at = search_window(&scan, at, &copy);
    }
    if (copy.any) {
        add_part(out, text, copy.done, to, from, to);
    }
    return copy.any;
}

bool rl_redact_tail(const rl_redact *set, rl_buf *buf, size_t at, bool escaped)
{
    bool any = false;
    rl_buf out;

    if (!buf->failed && buf->len > at && rl_buf_reserve(buf, RL_WINDOW)) {
        rl_buf_init(&out, buf->max);
        any = rl_redact_text(set, buf->data + at, buf->len - at,
                             escaped ? RL_ESCAPED : RL_PLAIN, 0, buf->len - at, &out);
        if (any) {
            buf->len = at;
            rl_buf_add(buf, out.data, out.len);
        }
        buf->failed |= out.failed;
        rl_buf_free(&out);
    }
    return any;
}
