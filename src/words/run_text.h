/* The text of a run for the index of words: its errors, and the texts in its inputs,
 * outputs, node logs with their calls, and parts, which are JSON. Keys are not searched,
 * nor are the members of logs that only say what a log is.
 *
 * Threads: one at a time uses a scan. Ownership: a scan borrows `out`, and the texts for
 * the call.
 */
#ifndef RL_WORDS_RUN_TEXT_H
#define RL_WORDS_RUN_TEXT_H

#include "core/buf.h"
#include "core/json_read.h"

#include <stdint.h>

#define RL_WORDS_SEEN 1024

/* What a JSON text is, or a container in it. */
typedef enum rl_words_role {
    RL_WORDS_PAYLOAD, /* all its texts are searched */
    RL_WORDS_LOGS,    /* an array of logs */
    RL_WORDS_LOG,     /* of a node or a call */
    RL_WORDS_SKIP,    /* nothing of it is searched */
} rl_words_role;

/* The texts of one run. */
typedef struct rl_words_scan {
    rl_buf *out;
    size_t end;                   /* of `out`: no more is appended there */
    bool as_words;                /* as words (plain.h), else as they are, a line each */
    rl_buf text;                  /* a text without its escapes */
    uint64_t seen[RL_WORDS_SEEN]; /* hashes: a text that occurs again is left out */
    /* the text that is being read */
    const char *at, *stop;
    const char *key; /* the last one, without its quotes */
    size_t key_len, depth;
    struct {
        rl_words_role role;
        bool is_object;
    } stack[RL_JSON_READ_DEPTH];
} rl_words_scan;

/* Begins a run, of whose text `most` bytes are appended to `out`. After the last run:
 * rl_words_scan_free. Without memory out->failed. */
void rl_words_scan_init(rl_words_scan *scan);
void rl_words_scan_free(rl_words_scan *scan);
void rl_words_scan_begin(rl_words_scan *scan, bool as_words, size_t most, rl_buf *out);

/* Appends a text, and the texts of a JSON text. */
void rl_words_scan_text(rl_words_scan *scan, const char *text, size_t len);
void rl_words_scan_json(rl_words_scan *scan, rl_words_role role, const char *json,
                        size_t len);

static inline bool rl_words_scan_is_full(const rl_words_scan *scan)
{
    return scan->out->len >= scan->end || scan->out->failed;
}

#endif
