/* The client: attempts, and the pauses between them. See http.h. */
#include "net/http.h"

#include "core/alloc.h"
#include "core/clock.h"
#include "net/backoff.h"
#include "net/transfer.h"

#include <stdio.h>
#include <time.h>

struct rl_http {
    rl_http_options options;
    rl_transfer transfer;
    rl_bucket bucket;
};

rl_status rl_http_new(const rl_http_options *options, rl_http **http, rl_err *err)
{
    rl_http *made = rl_calloc(1, sizeof *made);
    rl_status status;

    *http = NULL;
    if (made == NULL) {
        return rl_err_nomem(err);
    }
    made->options = *options;
    rl_bucket_init(&made->bucket);
    status = rl_transfer_init(&made->transfer, options->name, options->stop, err);
    if (status == RL_OK) {
        *http = made;
    } else {
        rl_http_free(made);
    }
    return status;
}

void rl_http_free(rl_http *http)
{
    if (http != NULL) {
        rl_transfer_destroy(&http->transfer);
        rl_free(http);
    }
}

void rl_http_abandon(rl_http *http)
{
    rl_transfer_abandon(&http->transfer);
}

static bool is_stopped(const rl_http *http)
{
    return http->options.stop != NULL && atomic_load(http->options.stop);
}

/* A call of rl_http_post. */
typedef struct rl_call {
    rl_http *http;
    const rl_http_request *request;
    uint64_t end; /* monotonic, ns */
    rl_http_reading reading;
    unsigned tried; /* attempts made */
    char origin[RL_ORIGIN];
    char failure[RL_FAILURE]; /* of the last attempt */
} rl_call;

static rl_status stopped(const rl_http *http, rl_err *err)
{
    return rl_err_set(err, RL_CLOSED, "%s: closed before the answer came",
                      http->options.name);
}

static rl_status failed(const rl_call *call, bool retryable, rl_err *err)
{
    char tried[40] = "";

    if (call->tried > 1) {
        snprintf(tried, sizeof tried, " (%u attempts)", call->tried);
    }
    rl_err_set(err, RL_SERVICE, "%s at %s: %s%s", call->http->options.name, call->origin,
               call->failure, tried);
    if (err != NULL) {
        err->retryable = retryable;
        err->retry_after_ns = retryable ? call->reading.answer->retry_after_ns : 0;
    }
    return RL_SERVICE;
}

rl_status rl_http_pause(rl_http *http, uint64_t ns, rl_err *err)
{
    const uint64_t until = rl_monotonic_ns() + ns;
    const uint64_t slice = RL_SLICE_MS * UINT64_C(1000000);
    uint64_t now;

    while ((now = rl_monotonic_ns()) < until && !is_stopped(http)) {
        uint64_t left = until - now;
        struct timespec part = rl_timespec(left < slice ? left : slice);

        (void)nanosleep(&part, NULL);
    }
    return is_stopped(http) ? stopped(http, err) : RL_OK;
}

static bool is_transient(long status)
{
    return status == 408 || status == 429 || (status >= 500 && status <= 599);
}

/* The outcome of an attempt; call->failure has the reason of a failure. */
typedef enum rl_outcome {
    ANSWERED,
    RETRY,     /* the next attempt may succeed */
    LATER,     /* no attempt of this call will succeed, but a later call may */
    PERMANENT, /* no call will succeed */
} rl_outcome;

static rl_outcome classify(rl_call *call, CURLcode code, uint64_t timeout_ns)
{
    rl_http *http = call->http;
    const rl_http_answer *answer = call->reading.answer;
    const rl_failure failure = {code, http->transfer.easy, http->transfer.detail,
                                http->transfer.address, timeout_ns};
    rl_outcome outcome = ANSWERED;

    if (call->reading.too_large) {
        outcome = PERMANENT;
        snprintf(call->failure, sizeof call->failure,
                 "the answer has more than %zu bytes", call->request->max_answer);
    } else if (code == CURLE_OK) {
        bool again = is_transient(answer->status) && (call->request->is_final == NULL ||
                                                      !call->request->is_final(answer));

        outcome = again ? RETRY : ANSWERED;
        snprintf(call->failure, sizeof call->failure, "answered %ld", answer->status);
    } else {
        outcome = code == CURLE_URL_MALFORMAT       ? PERMANENT
                  : rl_failure_is_certificate(code) ? LATER
                                                    : RETRY;
        rl_failure_text(&failure, call->failure);
    }
    return outcome;
}

/* Waits until a request may start. RL_SERVICE when that is not before the end of the
 * call. */
static rl_status take_token(rl_call *call, rl_err *err)
{
    rl_bucket *bucket = &call->http->bucket;
    uint64_t now = rl_monotonic_ns();
    const uint64_t wait = rl_bucket_wait_ns(bucket, now);
    rl_status status = RL_OK;

    if (is_stopped(call->http)) {
        return stopped(call->http, err);
    }
    if (now >= call->end || wait >= call->end - now) {
        if (call->tried == 0) {
            snprintf(call->failure, sizeof call->failure, "%s",
                     wait > 0 ? "the server limits requests, and the next one may start "
                                "only after the time limit"
                              : "there was no time left for an attempt");
        }
        return failed(call, true, err);
    }
    if (wait > 0) {
        status = rl_http_pause(call->http, wait, err);
    }
    if (status == RL_OK) {
        rl_bucket_take(bucket, rl_monotonic_ns());
    }
    return status;
}

/* Waits for a token, and makes one attempt. */
static rl_status try_once(rl_call *call, rl_outcome *outcome, rl_err *err)
{
    rl_http *http = call->http;
    CURLcode code = CURLE_OK;
    uint64_t now, left, timeout_ns = http->options.timeout_ns;
    rl_status status = take_token(call, err);

    if (status != RL_OK) {
        return status;
    }
    now = rl_monotonic_ns();
    left = now < call->end ? call->end - now : 1;
    timeout_ns = timeout_ns < left ? timeout_ns : left;
    status = rl_transfer_run(&http->transfer, call->request, timeout_ns, &call->reading,
                             &code, err);
    if (status == RL_CLOSED) {
        return stopped(call->http, err);
    }
    if (status != RL_OK) {
        return status;
    }
    call->tried++;
    *outcome = classify(call, code, timeout_ns);
    if (*outcome == RETRY && call->reading.answer->status == 429) {
        rl_bucket_throttle(&http->bucket);
    } else if (*outcome == ANSWERED) {
        rl_bucket_succeed(&http->bucket);
    }
    return RL_OK;
}

/* Makes attempts until one is answered, or another can't help. */
static rl_status try_all(rl_call *call, unsigned attempts, rl_err *err)
{
    rl_outcome outcome = RETRY;
    rl_status status = try_once(call, &outcome, err);

    while (status == RL_OK && outcome == RETRY) {
        const uint64_t asked = call->reading.answer->retry_after_ns;
        const uint64_t wait = asked != 0 ? asked : rl_backoff_ns(call->tried);
        const uint64_t now = rl_monotonic_ns();

        if (call->tried >= attempts || now >= call->end || wait >= call->end - now) {
            return failed(call, true, err);
        }
        status = rl_http_pause(call->http, wait, err);
        if (status == RL_OK) {
            status = try_once(call, &outcome, err);
        }
    }
    if (status == RL_OK && outcome != ANSWERED) {
        status = failed(call, outcome == LATER, err);
    }
    return status;
}

rl_status rl_http_post(rl_http *http, const rl_http_request *request, unsigned attempts,
                       uint64_t end, rl_http_answer *answer, rl_err *err)
{
    rl_call call = {.http = http, .request = request, .end = end};
    rl_status status = rl_origin(http->options.name, request->url, call.origin, err);

    call.reading = (rl_http_reading){.answer = answer, .max = request->max_answer};
    rl_http_reading_begin(&call.reading);
    if (status == RL_OK && request->grpc && !http->transfer.has_http2) {
        status =
            rl_err_set(err, RL_SERVICE, "%s: libcurl was built without HTTP/2 (nghttp2)",
                       http->options.name);
    }
    if (status == RL_OK) {
        status = try_all(&call, attempts, err);
    }
    answer->tried = call.tried;
    return status;
}
