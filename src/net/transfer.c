/* One attempt of a request, through libcurl. See transfer.h. */
#include "net/transfer.h"

#include "core/alloc.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define WAIT_MS 1000   /* the longest wait without a `stop` */
#define CONNECTIONS 4L /* idle ones that stay open */

/* Before 8.0, a second call over a connection with prior knowledge fails with CURLE_HTTP2
 * (curl's issue 10634). */
#define REUSE_VERSION 0x080000

/* ---- creation and destruction ---------------------------------------------------- */

static CURLcode global_code = CURLE_FAILED_INIT;

static void init_curl(void)
{
    global_code = curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* A copy of an environment variable, owned by the caller. NULL if it is unset or empty;
 * and without memory, which clears *complete. */
static char *copy_env(const char *name, bool *complete)
{
    const char *value = getenv(name);
    char *copy = NULL;

    if (value != NULL && value[0] != '\0') {
        copy = rl_strdup(value);
        *complete = *complete && copy != NULL;
    }
    return copy;
}

/* The same variables as the curl command reads. False without memory. */
static bool read_authorities(rl_transfer *transfer)
{
    bool complete = true;

    transfer->ca_file = copy_env("CURL_CA_BUNDLE", &complete);
    if (transfer->ca_file == NULL && complete) {
        transfer->ca_folder = copy_env("SSL_CERT_DIR", &complete);
        transfer->ca_file = copy_env("SSL_CERT_FILE", &complete);
    }
    return complete;
}

rl_status rl_transfer_init(rl_transfer *transfer, const char *name,
                           const atomic_bool *stop, rl_err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const curl_version_info_data *version;

    memset(transfer, 0, sizeof *transfer);
    transfer->stop = stop;
    for (size_t i = 0; i < RL_TRANSFER_FDS; i++) {
        transfer->fds[i] = -1;
    }
    (void)pthread_once(&once, init_curl);
    if (global_code != CURLE_OK) {
        return rl_err_set(err, RL_SERVICE, "%s: libcurl can't be used: %s", name,
                          curl_easy_strerror(global_code));
    }
    version = curl_version_info(CURLVERSION_NOW);
    transfer->has_http2 = (version->features & CURL_VERSION_HTTP2) != 0;
    transfer->may_reuse = version->version_num >= REUSE_VERSION;
    return read_authorities(transfer) ? RL_OK : rl_err_nomem(err);
}

static void close_handles(rl_transfer *transfer)
{
    if (transfer->easy != NULL) {
        curl_easy_cleanup(transfer->easy);
    }
    if (transfer->multi != NULL) {
        (void)curl_multi_cleanup(transfer->multi);
    }
    transfer->easy = NULL;
    transfer->multi = NULL;
}

void rl_transfer_destroy(rl_transfer *transfer)
{
    close_handles(transfer);
    rl_free(transfer->ca_file);
    rl_free(transfer->ca_folder);
    transfer->ca_file = NULL;
    transfer->ca_folder = NULL;
}

static rl_status open_handles(rl_transfer *transfer, rl_err *err)
{
    if (transfer->multi == NULL) {
        transfer->multi = curl_multi_init();
        if (transfer->multi != NULL) {
            (void)curl_multi_setopt(transfer->multi, CURLMOPT_MAXCONNECTS, CONNECTIONS);
        }
    }
    if (transfer->easy == NULL) {
        transfer->easy = curl_easy_init();
    }
    return transfer->multi != NULL && transfer->easy != NULL ? RL_OK : rl_err_nomem(err);
}

void rl_transfer_abandon(rl_transfer *transfer)
{
    /* Closing a connection of TLS or HTTP/2 sends a message, which would close the
     * parent's. So /dev/null takes the place of each socket first. */
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    for (size_t i = 0; i < RL_TRANSFER_FDS && null_fd >= 0; i++) {
        if (transfer->fds[i] >= 0) {
            (void)dup2(null_fd, transfer->fds[i]);
        }
    }
    if (null_fd >= 0 && !atomic_load(&transfer->busy)) {
        close_handles(transfer);
    }
    if (null_fd >= 0) {
        (void)close(null_fd);
    }
    for (size_t i = 0; i < RL_TRANSFER_FDS; i++) {
        transfer->fds[i] = -1;
    }
    transfer->easy = NULL;
    transfer->multi = NULL;
    atomic_store(&transfer->busy, false);
}

/* ---- sockets --------------------------------------------------------------------- */

/* Records an address that libcurl connects to: a host may have several. */
static void record_address(rl_transfer *transfer, const struct curl_sockaddr *address)
{
    char host[INET6_ADDRSTRLEN] = "", *out = transfer->address;
    size_t used = strlen(out), room = sizeof transfer->address - used;
    const char *between = used > 0 ? ", " : "";

    if (room < INET6_ADDRSTRLEN + sizeof ", []:65535") {
        return;
    }
    if (address->family == AF_INET) {
        struct sockaddr_in in;

        memcpy(&in, &address->addr, sizeof in);
        (void)inet_ntop(AF_INET, &in.sin_addr, host, sizeof host);
        snprintf(out + used, room, "%s%s:%u", between, host, ntohs(in.sin_port));
    } else if (address->family == AF_INET6) {
        struct sockaddr_in6 in6;

        memcpy(&in6, (const void *)&address->addr, sizeof in6);
        (void)inet_ntop(AF_INET6, &in6.sin6_addr, host, sizeof host);
        snprintf(out + used, room, "%s[%s]:%u", between, host, ntohs(in6.sin6_port));
    }
}

/* A socket that programs which are started do not inherit. */
static int socket_of(const struct curl_sockaddr *address)
{
#ifdef SOCK_CLOEXEC
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
#else
    int made = socket(address->family, address->socktype, address->protocol);

    if (made >= 0) {
        (void)fcntl(made, F_SETFD, FD_CLOEXEC);
    }
    return made;
#endif
}

/* CURLOPT_OPENSOCKETFUNCTION */
static curl_socket_t open_socket(void *ctx, curlsocktype purpose,
                                 struct curl_sockaddr *address)
{
    rl_transfer *transfer = ctx;
    size_t place = 0;
    int made = -1;

    (void)purpose;
    record_address(transfer, address);
    while (place < RL_TRANSFER_FDS && transfer->fds[place] >= 0) {
        place++;
    }
    if (place < RL_TRANSFER_FDS) {
        made = socket_of(address);
        transfer->fds[place] = made;
    } else {
        errno = EMFILE;
    }
    return made >= 0 ? made : CURL_SOCKET_BAD;
}

/* CURLOPT_CLOSESOCKETFUNCTION */
static int close_socket(void *ctx, curl_socket_t item)
{
    rl_transfer *transfer = ctx;

    for (size_t i = 0; i < RL_TRANSFER_FDS; i++) {
        if (transfer->fds[i] == item) {
            transfer->fds[i] = -1;
        }
    }
    return close(item);
}

/* A write to a connection that the server has closed raises SIGPIPE, which ends a program
 * that has restored the default action. The guard blocks the signal for the thread. */
typedef struct pipe_guard {
    sigset_t before;
    bool was_pending;
} pipe_guard;

static void guard_pipe(pipe_guard *guard)
{
    sigset_t pipe, pending;

    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    sigemptyset(&pending);
    (void)sigpending(&pending);
    guard->was_pending = sigismember(&pending, SIGPIPE) == 1;
    (void)pthread_sigmask(SIG_BLOCK, &pipe, &guard->before);
}

static void release_pipe(const pipe_guard *guard)
{
    sigset_t pipe, pending;
    int taken;

    sigemptyset(&pending);
    (void)sigpending(&pending);
    if (!guard->was_pending && sigismember(&pending, SIGPIPE) == 1) {
        sigemptyset(&pipe);
        sigaddset(&pipe, SIGPIPE);
        (void)sigwait(&pipe, &taken);
    }
    (void)pthread_sigmask(SIG_SETMASK, &guard->before, NULL);
}

/* ---- an attempt ------------------------------------------------------------------ */

static bool is_stopped(const rl_transfer *transfer)
{
    return transfer->stop != NULL && atomic_load(transfer->stop);
}

/* The headers of a request; NULL without memory. Freed with curl_slist_free_all. */
static struct curl_slist *list_headers(const rl_http_request *request)
{
    /* without "Expect: 100-continue", which costs a round trip before a long body */
    struct curl_slist *list = curl_slist_append(NULL, "Expect:"), *longer = list;

    for (const char *const *one = request->headers; one != NULL && *one != NULL; one++) {
        longer = longer != NULL ? curl_slist_append(list, *one) : NULL;
    }
    if (longer == NULL) {
        curl_slist_free_all(list);
        list = NULL;
    }
    return list;
}

/* Sets an option, unless an earlier one failed. */
#define SET(option, value)                                    \
    do {                                                      \
        if (code == CURLE_OK) {                               \
            code = curl_easy_setopt(easy, (option), (value)); \
        }                                                     \
    } while (0)

static CURLcode set_protocols(CURL *easy)
{
#if LIBCURL_VERSION_NUM >= 0x075500
    return curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#else
    return curl_easy_setopt(easy, CURLOPT_PROTOCOLS,
                            (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
}

/* The options of the connection and of its verification. */
static CURLcode set_connection(rl_transfer *transfer, const rl_http_request *request)
{
    CURL *easy = transfer->easy;
    const bool h2c = request->grpc && strncmp(request->url, "https:", 6) != 0;
    CURLcode code = set_protocols(easy);

    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_OPENSOCKETFUNCTION, open_socket);
    SET(CURLOPT_OPENSOCKETDATA, transfer);
    SET(CURLOPT_CLOSESOCKETFUNCTION, close_socket);
    SET(CURLOPT_CLOSESOCKETDATA, transfer);
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    if (transfer->ca_file != NULL) {
        SET(CURLOPT_CAINFO, transfer->ca_file);
    }
    if (transfer->ca_folder != NULL) {
        SET(CURLOPT_CAPATH, transfer->ca_folder);
    }
    if (transfer->has_http2) {
        SET(CURLOPT_HTTP_VERSION,
            (long)(h2c ? CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE : CURL_HTTP_VERSION_2TLS));
    }
    if (h2c && !transfer->may_reuse) {
        SET(CURLOPT_FRESH_CONNECT, 1L);
        SET(CURLOPT_FORBID_REUSE, 1L);
    }
    (void)curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
#if LIBCURL_VERSION_NUM >= 0x075700 /* does not wait for a lookup that hangs */
    (void)curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
#endif
    return code;
}

static CURLcode set_request(rl_transfer *transfer, const rl_http_request *request,
                            const struct curl_slist *headers, uint64_t timeout_ns,
                            rl_http_reading *reading)
{
    CURL *easy = transfer->easy;
    CURLcode code = set_connection(transfer, request);

    SET(CURLOPT_URL, request->url);
    SET(CURLOPT_USERAGENT, "runlog");
    SET(CURLOPT_HTTPHEADER, headers);
    SET(CURLOPT_POST, 1L);
    SET(CURLOPT_POSTFIELDS, request->body != NULL ? request->body : "");
    SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->len);
    SET(CURLOPT_TIMEOUT_MS, (long)((timeout_ns + 999999) / 1000000));
    SET(CURLOPT_HEADERFUNCTION, rl_http_read_header);
    SET(CURLOPT_HEADERDATA, reading);
    SET(CURLOPT_WRITEFUNCTION, rl_http_read_body);
    SET(CURLOPT_WRITEDATA, reading);
    SET(CURLOPT_ERRORBUFFER, transfer->detail);
    return code;
}

/* Whether the transfer is over; *code is then its result. */
static bool is_over(CURLM *multi, CURLcode *code)
{
    const CURLMsg *message;
    bool over = false;
    int left;

    while ((message = curl_multi_info_read(multi, &left)) != NULL) {
        if (message->msg == CURLMSG_DONE) {
            *code = message->data.result;
            over = true;
        }
    }
    return over;
}

/* Runs the transfer of the easy handle. RL_CLOSED when `stop` is set. */
static rl_status perform(rl_transfer *transfer, CURLcode *code)
{
    const int slice = transfer->stop != NULL ? RL_SLICE_MS : WAIT_MS;
    CURLMcode multi_code = curl_multi_add_handle(transfer->multi, transfer->easy);
    rl_status status = RL_OK;
    bool over = false;
    int running;

    while (!over && multi_code == CURLM_OK && status == RL_OK) {
        multi_code = curl_multi_perform(transfer->multi, &running);
        over = is_over(transfer->multi, code);
        if (is_stopped(transfer) && !over) {
            status = RL_CLOSED;
        } else if (!over && multi_code == CURLM_OK) {
            multi_code = curl_multi_poll(transfer->multi, NULL, 0, slice, NULL);
        }
    }
    if (multi_code != CURLM_OK) {
        *code =
            multi_code == CURLM_OUT_OF_MEMORY ? CURLE_OUT_OF_MEMORY : CURLE_RECV_ERROR;
    }
    (void)curl_multi_remove_handle(transfer->multi, transfer->easy);
    return status;
}

rl_status rl_transfer_run(rl_transfer *transfer, const rl_http_request *request,
                          uint64_t timeout_ns, rl_http_reading *reading, CURLcode *code,
                          rl_err *err)
{
    struct curl_slist *headers = NULL;
    rl_status status;
    pipe_guard guard;

    rl_http_reading_begin(reading);
    transfer->detail[0] = '\0';
    transfer->address[0] = '\0';
    atomic_store(&transfer->busy, true);
    guard_pipe(&guard);
    status = open_handles(transfer, err);
    if (status == RL_OK && (headers = list_headers(request)) == NULL) {
        status = rl_err_nomem(err);
    }
    if (status == RL_OK) {
        curl_easy_reset(transfer->easy);
        *code = set_request(transfer, request, headers, timeout_ns, reading);
    }
    if (status == RL_OK && *code == CURLE_OK) {
        status = perform(transfer, code);
    }
    if (status == RL_OK && *code == CURLE_OK) {
        (void)curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE,
                                &reading->answer->status);
    } else if (status == RL_OK &&
               (*code == CURLE_OUT_OF_MEMORY || reading->answer->body.failed)) {
        status = rl_err_nomem(err);
    }
    if (headers != NULL) { /* the handle must not refer to the freed list */
        (void)curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, NULL);
        curl_slist_free_all(headers);
    }
    release_pipe(&guard);
    atomic_store(&transfer->busy, false);
    return status;
}
