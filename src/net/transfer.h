/* One attempt of a request, through libcurl. http.c makes the attempts and the pauses
 * between them; http.h states the client's guarantees.
 *
 * Threads: one at a time.
 */
#ifndef RL_TRANSFER_H
#define RL_TRANSFER_H

#include "net/failure.h"
#include "net/http.h"
#include "net/http_answer.h"

#include <curl/curl.h>

#define RL_SLICE_MS 25     /* how often a wait checks `stop` */
#define RL_TRANSFER_FDS 32 /* sockets open at a time; idle connections are fewer */

typedef struct rl_transfer {
    char *ca_file, *ca_folder; /* owned; NULL: the system's */
    CURLM *multi;              /* owned; NULL until the first request, and after a fork */
    CURL *easy;                /* owned; the same */
    const atomic_bool *stop;   /* borrowed, or NULL */
    atomic_bool busy; /* a thread is within libcurl, whose handles may be inconsistent */
    bool has_http2;
    bool may_reuse;           /* connections of h2c (HTTP/2 without TLS) may be reused */
    int fds[RL_TRANSFER_FDS]; /* libcurl's open sockets; -1: none */
    char address[RL_ADDRESS]; /* the addresses that were tried */
    char detail[CURL_ERROR_SIZE];
} rl_transfer;

/* Reads the environment, and makes no connection. `name` is the server's, for errors. The
 * caller must call rl_transfer_destroy, even after a failure. RL_NOMEM, or RL_SERVICE
 * when libcurl can't be used. */
rl_status rl_transfer_init(rl_transfer *transfer, const char *name,
                           const atomic_bool *stop, rl_err *err);
void rl_transfer_destroy(rl_transfer *transfer);
void rl_transfer_abandon(rl_transfer *transfer); /* as rl_http_abandon */

/* Sends a request once. With RL_OK, libcurl's result is in *code, and the answer with its
 * status in `reading`. RL_NOMEM; RL_CLOSED, without a text in err, when `stop` is set. */
rl_status rl_transfer_run(rl_transfer *transfer, const rl_http_request *request,
                          uint64_t timeout_ns, rl_http_reading *reading, CURLcode *code,
                          rl_err *err);

#endif
