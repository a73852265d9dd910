/* Calls of Milvus. See milvus_call.h. */
#include "meaning/services/milvus_call.h"

#include "core/clock.h"
#include "net/backoff.h"
#include "net/printable.h"

#include <stdarg.h>
#include <stdio.h>

/* Codes of Milvus: pkg/util/merr/errors.go, and before 2.3 common.proto, ErrorCode. */
enum {
    CODE_COLLECTION_NOT_FOUND = 100,
    CODE_COLLECTION_NOT_LOADED = 101,
    CODE_INDEX_NOT_FOUND = 700,
    CODE_NOT_AUTHENTICATED = 1800,
    LEGACY_UNEXPECTED = 1,
    LEGACY_COLLECTION_NOT_EXISTS = 4,
    LEGACY_INDEX_NOT_EXIST = 25
};

rl_buf *rl_milvus_begin_request(rl_milvus_operation *op)
{
    rl_buf *request = &op->milvus->request;

    rl_buf_reset(request, RL_MILVUS_RETAINED);
    rl_grpc_begin(request);
    return request;
}

rl_status rl_milvus_fail(rl_milvus_operation *op, const char *format, ...)
{
    char what[RL_ERR_TEXT];
    va_list args;

    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return rl_err_set(op->err, RL_SERVICE, "Milvus: %s", what);
}

rl_status rl_milvus_unreadable(rl_milvus_operation *op, const char *method)
{
    return rl_milvus_fail(op, "the answer to %s can't be read", method);
}

bool rl_milvus_is_timed_out(const rl_milvus_operation *op)
{
    return rl_monotonic_ns() >= op->end;
}

rl_status rl_milvus_wait(rl_milvus_operation *op, uint64_t ns)
{
    const uint64_t now = rl_monotonic_ns();
    const uint64_t left = now < op->end ? op->end - now : 0;

    return rl_http_pause(op->milvus->http, ns < left ? ns : left, op->err);
}

/* Too many requests, or a quota; 1807 is the rate limit of a collection. */
static bool is_overload(const rl_milvus_status *status)
{
    static const int32_t codes[] = {2, 3, 4, 7, 8, 9, 103, 1807};
    static const int32_t legacy[] = {46, 48, 49, 53, 54, 55, 56, 57};
    const int32_t *known = status->code != 0 ? codes : legacy;
    const int32_t code = status->code != 0 ? status->code : status->legacy;
    bool found = status->retriable;

    for (size_t i = 0; i < sizeof codes / sizeof *codes && !found; i++) {
        found = known[i] == code;
    }
    return found;
}

static bool says(const rl_milvus_status *status, const char *what)
{
    return memmem(status->reason.data, status->reason.len, what, strlen(what)) != NULL;
}

static rl_milvus_code code_of(const rl_milvus_status *status)
{
    const int32_t code = status->code, legacy = code == 0 ? status->legacy : 0;
    rl_milvus_code result = RL_MILVUS_FAILED;

    if (code == 0 && legacy == 0) {
        result = RL_MILVUS_DONE;
    } else if (code == CODE_COLLECTION_NOT_FOUND ||
               legacy == LEGACY_COLLECTION_NOT_EXISTS ||
               (legacy == LEGACY_UNEXPECTED && says(status, "can't find collection"))) {
        result = RL_MILVUS_MISSING;
    } else if (code == CODE_COLLECTION_NOT_LOADED ||
               (legacy == LEGACY_UNEXPECTED && says(status, "not loaded"))) {
        result = RL_MILVUS_NOT_LOADED;
    } else if (code == CODE_INDEX_NOT_FOUND || legacy == LEGACY_INDEX_NOT_EXIST) {
        result = RL_MILVUS_NO_INDEX;
    }
    return result;
}

/* Reads the status of an answer; RL_SERVICE for one of an error. */
static rl_status check_status(rl_milvus_operation *op, const char *method, bool bare)
{
    const rl_milvus *milvus = op->milvus;
    rl_milvus_status status;
    char reason[400];
    int32_t code;

    if (!rl_milvus_get_status(op->message, bare, &status)) {
        return rl_milvus_unreadable(op, method);
    }
    op->code = code_of(&status);
    if (op->code == RL_MILVUS_DONE) {
        return RL_OK;
    }
    code = status.code != 0 ? status.code : status.legacy;
    rl_printable(reason, sizeof reason, (const char *)status.reason.data,
                 status.reason.len);
    rl_hide_all(reason, milvus->grpc.secrets);
    if (status.code == CODE_NOT_AUTHENTICATED) {
        return rl_milvus_fail(op, "%s was refused (code %d)", milvus->grpc.token_setting,
                              (int)code);
    }
    rl_milvus_fail(op, "%s: %s (code %d)", method, reason, (int)code);
    op->err->retryable = is_overload(&status) || op->code == RL_MILVUS_NOT_LOADED;
    return RL_SERVICE;
}

rl_status rl_milvus_call(rl_milvus_operation *op, const char *method, bool bare)
{
    rl_milvus *milvus = op->milvus;
    rl_http_answer *answer = &milvus->answer;
    unsigned tried = 0, failures = 0;
    rl_status status;
    bool again;

    do {
        op->code = RL_MILVUS_FAILED;
        status =
            rl_grpc_call(&milvus->grpc, method, &milvus->request, op->attempts - tried,
                         op->end, answer, &op->message, op->err);
        if (status == RL_OK) {
            status = check_status(op, method, bare);
        }
        tried += answer->tried;
        /* without an answer of 200 rl_http_post has used up the attempts */
        again = status == RL_SERVICE && op->err->retryable && answer->status == 200 &&
                op->code == RL_MILVUS_FAILED && tried < op->attempts &&
                !rl_milvus_is_timed_out(op);
        if (again) {
            const uint64_t pause = rl_backoff_ns(++failures);

            again = rl_monotonic_ns() + pause < op->end;
            if (again && rl_http_pause(milvus->http, pause, op->err) != RL_OK) {
                status = RL_CLOSED;
                again = false;
            }
        }
    } while (again);
    return status;
}
