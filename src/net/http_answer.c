/* Reading an answer. See http_answer.h. */
#include "net/http_answer.h"

#include "core/clock.h"
#include "core/text.h"
#include "net/backoff.h"
#include "net/printable.h"

#include <strings.h>

#define BODY_RETAINED ((size_t)256 * 1024) /* bytes of buffer, for the next answer */

void rl_http_answer_init(rl_http_answer *answer)
{
    memset(answer, 0, sizeof *answer);
    answer->grpc_status = -1;
    rl_buf_init(&answer->body, RL_BUF_MAX);
}

void rl_http_answer_free(rl_http_answer *answer)
{
    rl_buf_free(&answer->body);
}

/* Clears the headers, as those of an interim answer (1xx) are not the answer's. */
static void clear_headers(rl_http_answer *answer)
{
    answer->grpc_status = -1;
    answer->grpc_message[0] = '\0';
    answer->retry_after_ns = 0;
}

void rl_http_reading_begin(rl_http_reading *reading)
{
    clear_headers(reading->answer);
    reading->answer->status = 0;
    rl_buf_reset(&reading->answer->body, BODY_RETAINED);
    reading->too_large = false;
}

/* Whether a line is the header `name`; its value is then without the white space around
 * it. */
static bool header_is(const char *line, size_t len, const char *name, const char **value,
                      size_t *value_len)
{
    const size_t name_len = strlen(name);

    if (len <= name_len || line[name_len] != ':' ||
        strncasecmp(line, name, name_len) != 0) {
        return false;
    }
    line += name_len + 1;
    len -= name_len + 1;
    while (len > 0 && (*line == ' ' || *line == '\t')) {
        line++;
        len--;
    }
    while (len > 0 && strchr(" \t\r\n", line[len - 1]) != NULL) {
        len--;
    }
    *value = line;
    *value_len = len;
    return true;
}

/* An invalid escape is copied. Source: gRPC over HTTP2, "Percent-Encoded". */
static void read_grpc_message(rl_http_answer *answer, const char *value, size_t len)
{
    char decoded[sizeof answer->grpc_message];
    size_t to = 0;

    for (size_t at = 0; at < len && to < sizeof decoded; at++) {
        bool escaped = value[at] == '%' && len - at > 2;
        unsigned high = escaped ? rl_hex_digit(value[at + 1]) : 16;
        unsigned low = escaped ? rl_hex_digit(value[at + 2]) : 16;

        if (high < 16 && low < 16) {
            decoded[to++] = (char)(high << 4 | low);
            at += 2;
        } else {
            decoded[to++] = value[at];
        }
    }
    rl_printable(answer->grpc_message, sizeof answer->grpc_message, decoded, to);
}

static void read_grpc_status(rl_http_answer *answer, const char *value, size_t len)
{
    int status = 0;
    size_t at = 0;

    for (; at < len && at < 4 && value[at] >= '0' && value[at] <= '9'; at++) {
        status = status * 10 + (value[at] - '0');
    }
    if (at > 0 && at == len) {
        answer->grpc_status = status;
    }
}

/* libcurl also calls this for each trailer. */
size_t rl_http_read_header(char *data, size_t size, size_t count, void *ctx)
{
    rl_http_reading *reading = ctx;
    rl_http_answer *answer = reading->answer;
    const size_t len = size * count;
    const char *value;
    size_t value_len;
    uint64_t wait;

    if (len >= 5 && memcmp(data, "HTTP/", 5) == 0) {
        clear_headers(answer);
    } else if (header_is(data, len, "grpc-status", &value, &value_len)) {
        read_grpc_status(answer, value, value_len);
    } else if (header_is(data, len, "grpc-message", &value, &value_len)) {
        read_grpc_message(answer, value, value_len);
    } else if (header_is(data, len, "retry-after", &value, &value_len) &&
               rl_retry_after(value, value_len, rl_time_now(), &wait)) {
        answer->retry_after_ns = wait;
    }
    return len;
}

/* Returning fewer bytes than were given ends the transfer with CURLE_WRITE_ERROR. */
size_t rl_http_read_body(char *data, size_t size, size_t count, void *ctx)
{
    rl_http_reading *reading = ctx;
    rl_buf *body = &reading->answer->body;
    const size_t len = size * count;

    reading->too_large = len > reading->max || body->len > reading->max - len;
    if (!reading->too_large) {
        rl_buf_add(body, data, len);
    }
    return reading->too_large || body->failed ? 0 : len;
}
