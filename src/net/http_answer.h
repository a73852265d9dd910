/* Reading an answer, which libcurl delivers in pieces.
 *
 * Threads: one at a time. Ownership: the answer is borrowed.
 */
#ifndef RL_HTTP_ANSWER_H
#define RL_HTTP_ANSWER_H

#include "net/http.h"

typedef struct rl_http_reading {
    rl_http_answer *answer; /* borrowed */
    size_t max;             /* bytes of the body at most */
    bool too_large;         /* the body has more than `max` bytes */
} rl_http_reading;

/* Empties the answer for the next attempt. */
void rl_http_reading_begin(rl_http_reading *reading);

/* CURLOPT_HEADERFUNCTION and CURLOPT_WRITEFUNCTION, with a rl_http_reading. */
size_t rl_http_read_header(char *data, size_t size, size_t count, void *ctx);
size_t rl_http_read_body(char *data, size_t size, size_t count, void *ctx);

#endif
