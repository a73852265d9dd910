/* One request at a time through libcurl, with the connections that are kept for the next.
 *
 * Threads: one at a time. Ownership: see each function. http.h has what is promised of
 * requests; the attempts, and the pauses between them, are http.c's.
 */
#ifndef RL_TRANSFER_H
#define RL_TRANSFER_H

#include "net/failure.h"
#include "net/http.h"
#include "net/http_answer.h"

#include <curl/curl.h>

#define RL_SLICE_MS 25 /* how often `stop` is looked at while something is waited for */
#define RL_TRANSFER_FDS 32 /* open at a time; the connections that are kept are fewer */

typedef struct rl_transfer {
    char *ca_file, *ca_folder; /* owned; NULL: the system's */
    CURLM *multi;              /* owned; NULL until the first request, and after a fork */
    CURL *easy;                /* owned; the same */
    const atomic_bool *stop;   /* borrowed, or NULL */
    atomic_bool busy;          /* within libcurl: a fork finds it half changed */
    bool has_http2;
    bool may_reuse;           /* whether h2c connections may be re-used */
    int fds[RL_TRANSFER_FDS]; /* that libcurl has open; -1 where none is */
    char address[RL_ADDRESS]; /* those that were connected to */
    char detail[CURL_ERROR_SIZE];
} rl_transfer;

/* Reads the environment; connects to nothing yet. `name` is the server's, in errors. Also after
 * a failure rl_transfer_destroy is to be called. */
rl_status rl_transfer_init(rl_transfer *transfer, const char *name,
                           const atomic_bool *stop, rl_err *err);
void rl_transfer_destroy(rl_transfer *transfer);
void rl_transfer_abandon(rl_transfer *transfer); /* as rl_http_abandon */

/* Sends a request once. RL_OK: what came of it is in *code, and the answer with its status in
 * `reading`. RL_NOMEM. RL_CLOSED when it was stopped; without a text. */
rl_status rl_transfer_run(rl_transfer *transfer, const rl_http_request *request,
                          uint64_t timeout_ns, rl_http_reading *reading, CURLcode *code,
                          rl_err *err);

#endif
