/* Runs meaning/services/milvus.h and its codec by commands of tests/test_milvus.py and
 * tests/test_milvus_codec.py.
 *
 * Standard input: commands, each preceded by its length. A command is a list of
 * arguments, each preceded by its length; the first is the name. Standard output: an
 * answer to each command, preceded by its length. Lengths are four bytes, little-endian.
 * An optional text is empty, or has a '+' before it.
 */
#include "core/alloc.h"
#include "core/clock.h"
#include "meaning/services/milvus.h"
#include "meaning/services/milvus_codec.h"
#include "meaning/services/milvus_filter.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define ARGS 20000
#define ROW_ARGS 6

typedef struct argument {
    char *text; /* owned, NUL-terminated */
    size_t len;
} argument;

static argument args[ARGS];
static size_t count;
static rl_buf out;
static rl_milvus *milvus;

static size_t max_length[RL_MILVUS_FIELDS];

static bool read_length(FILE *from, uint32_t *len)
{
    unsigned char bytes[4];

    if (fread(bytes, 1, 4, from) != 4) {
        return false;
    }
    *len = bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
           (uint32_t)bytes[3] << 24;
    return true;
}

/* Each argument has an allocation of exactly its size, so that a sanitizer sees an
 * overrun. */
static bool read_command(void)
{
    uint32_t total, len;

    count = 0;
    if (!read_length(stdin, &total)) {
        return false;
    }
    while (total > 0 && count < ARGS && read_length(stdin, &len)) {
        argument *arg = &args[count++];

        arg->len = len;
        arg->text = malloc((size_t)len + 1);
        if (arg->text == NULL || fread(arg->text, 1, len, stdin) != len) {
            return false;
        }
        arg->text[len] = '\0';
        total -= 4 + len;
    }
    return count > 0;
}

static void forget_command(void)
{
    for (size_t i = 0; i < count; i++) {
        free(args[i].text);
    }
    count = 0;
}

static const char *arg(size_t i)
{
    return i < count ? args[i].text : "";
}

static const char *optional(size_t i)
{
    return *arg(i) == '+' ? arg(i) + 1 : NULL;
}

static int64_t number(size_t i)
{
    return strtoll(arg(i), NULL, 10);
}

static const float *floats(size_t i)
{
    return (const float *)(const void *)args[i].text;
}

/* The rows in the arguments from `from` on; the caller frees them. */
static rl_milvus_row *rows_of(size_t from, size_t *rows_count)
{
    rl_milvus_row *rows;

    *rows_count = (count - from) / ROW_ARGS;
    rows = calloc(*rows_count + 1, sizeof *rows);
    for (size_t i = 0; rows != NULL && i < *rows_count; i++) {
        const size_t at = from + i * ROW_ARGS;

        rows[i] = (rl_milvus_row){arg(at),     arg(at + 1),    arg(at + 2),
                                  arg(at + 3), number(at + 4), floats(at + 5)};
    }
    return rows;
}

static rl_milvus_search search_of(size_t from)
{
    return (rl_milvus_search){.vector = floats(from),
                              .dim = (uint32_t)(args[from].len / 4),
                              .limit = (size_t)number(from + 1),
                              .wpk_id = optional(from + 2),
                              .status = optional(from + 3),
                              .since = *arg(from + 4) == '\0' ? RL_TIME_NONE
                                                              : number(from + 4)};
}

static void put_filtered(bool is_search)
{
    rl_buf filter;

    rl_buf_init(&filter, RL_BUF_MAX);
    if (is_search) {
        const rl_milvus_search search = search_of(3);

        rl_milvus_add_filter(&filter, &search, max_length);
        rl_milvus_put_search(&out, arg(1), &search, &filter, number(2) != 0);
    } else {
        const char **ids = calloc(count, sizeof *ids);

        for (size_t i = 2; i < count; i++) {
            ids[i - 2] = arg(i);
        }
        rl_milvus_add_ids(&filter, ids, count - 2);
        rl_milvus_put_delete(&out, arg(1), &filter);
        free(ids);
    }
    rl_buf_free(&filter);
}

static void put_upsert(void)
{
    size_t rows_count;
    rl_milvus_row *rows = rows_of(3, &rows_count);

    rl_milvus_put_upsert(&out, arg(1), rows, rows_count, (uint32_t)number(2), max_length);
    free(rows);
}

static bool put_request(const char *name)
{
    bool known = true;

    if (strcmp(name, "put_describe") == 0) {
        rl_milvus_put_describe(&out, arg(1));
    } else if (strcmp(name, "put_create") == 0) {
        rl_milvus_put_create(&out, arg(1), (uint32_t)number(2));
    } else if (strcmp(name, "put_index") == 0) {
        rl_milvus_put_index(&out, arg(1));
    } else if (strcmp(name, "put_describe_index") == 0) {
        rl_milvus_put_describe_index(&out, arg(1));
    } else if (strcmp(name, "put_load") == 0) {
        rl_milvus_put_load(&out, arg(1));
    } else if (strcmp(name, "put_load_state") == 0) {
        rl_milvus_put_load_state(&out, arg(1));
    } else if (strcmp(name, "put_upsert") == 0) {
        put_upsert();
    } else if (strcmp(name, "put_search") == 0 || strcmp(name, "put_delete") == 0) {
        put_filtered(strcmp(name, "put_search") == 0);
    } else {
        known = false;
    }
    return known;
}

static void print_slice(rl_pb_slice slice)
{
    for (size_t i = 0; i < slice.len; i++) {
        rl_buf_printf(&out, "%02x", slice.data[i]);
    }
}

/* "number wire value" or "number wire bytes", a line each; "malformed" at the end. */
static void print_fields(rl_pb_slice message)
{
    rl_pb_field field;

    while (rl_pb_next(&message, &field)) {
        rl_buf_printf(&out, "%u %u ", (unsigned)field.number, (unsigned)field.wire);
        if (field.wire == RL_PB_BYTES) {
            print_slice(field.bytes);
        } else {
            rl_buf_printf(&out, "%" PRIu64, field.value);
        }
        rl_buf_add_text(&out, "\n");
    }
    if (message.len != 0) {
        rl_buf_add_text(&out, "malformed\n");
    }
}

static void print_schema(rl_pb_slice answer)
{
    rl_milvus_column columns[RL_MILVUS_FIELDS];

    if (!rl_milvus_get_schema(answer, columns)) {
        rl_buf_add_text(&out, "malformed");
        return;
    }
    for (size_t i = 0; i < RL_MILVUS_FIELDS; i++) {
        const rl_milvus_column *column = &columns[i];

        rl_buf_printf(&out, "%d %d %d %" PRIu64 " %" PRIu64 " %" PRIu64 "\n",
                      column->exists, column->is_primary, column->is_auto_id,
                      column->type, column->dim, column->max_length);
    }
}

static void print_hits(const rl_milvus_hit *hits, size_t hits_count)
{
    for (size_t i = 0; i < hits_count; i++) {
        rl_buf_printf(&out, "%a ", (double)hits[i].score);
        print_slice((rl_pb_slice){(const uint8_t *)hits[i].id, strlen(hits[i].id)});
        rl_buf_add_text(&out, "\n");
    }
}

static void get_hits(rl_pb_slice answer)
{
    const size_t limit = (size_t)number(2);
    rl_milvus_hit *hits = calloc(limit + 1, sizeof *hits);
    size_t hits_count;

    if (rl_milvus_get_hits(answer, hits, limit, &hits_count)) {
        print_hits(hits, hits_count);
    } else {
        rl_buf_add_text(&out, "malformed");
    }
    free(hits);
}

static void print_status(rl_pb_slice answer)
{
    rl_milvus_status status;

    if (!rl_milvus_get_status(answer, number(2) != 0, &status)) {
        rl_buf_add_text(&out, "malformed");
        return;
    }
    rl_buf_printf(&out, "%d %d %d ", (int)status.code, (int)status.legacy,
                  status.retriable);
    print_slice(status.reason);
}

static bool get_answer(const char *name)
{
    /* without the NUL, which a reader must not see */
    uint8_t *exact = malloc(args[count > 1].len);
    const rl_pb_slice answer = {exact, count > 1 ? args[1].len : 0};
    uint64_t value = 0;
    rl_pb_slice metric;
    bool known = true, exists = false;

    if (answer.len != 0) {
        memcpy(exact, args[1].text, answer.len);
    }
    if (strcmp(name, "get_fields") == 0) {
        print_fields(answer);
    } else if (strcmp(name, "get_status") == 0) {
        print_status(answer);
    } else if (strcmp(name, "get_schema") == 0) {
        print_schema(answer);
    } else if (strcmp(name, "get_hits") == 0) {
        get_hits(answer);
    } else if (strcmp(name, "get_index") == 0) {
        if (rl_milvus_get_index(answer, &exists, &metric)) {
            rl_buf_printf(&out, "%d ", exists);
            print_slice(metric);
        } else {
            rl_buf_add_text(&out, "malformed");
        }
    } else if (strcmp(name, "get_load_state") == 0 || strcmp(name, "get_upserted") == 0) {
        bool read = strcmp(name, "get_upserted") == 0
                        ? rl_milvus_get_upserted(answer, &value)
                        : rl_milvus_get_load_state(answer, &value);

        rl_buf_printf(&out, read ? "%" PRIu64 : "malformed", value);
    } else {
        known = false;
    }
    free(exact);
    return known;
}

/* "0", or the code of the status, whether it is retryable, and the text. */
static void print_result(rl_status status, const rl_err *err)
{
    if (status == RL_OK) {
        rl_buf_add_text(&out, "0\n");
    } else {
        rl_buf_printf(&out, "%d %d %s\n", (int)status, err->retryable, err->text);
    }
}

static uint64_t end_of(size_t i)
{
    return rl_monotonic_ns() + (uint64_t)number(i) * UINT64_C(1000000);
}

static void open_client(void)
{
    const rl_milvus_options options = {.endpoint = arg(1),
                                       .token = optional(2),
                                       .collection = arg(3),
                                       .strong = number(4) != 0,
                                       .timeout_ns = (uint64_t)number(5) * 1000000};
    rl_err err = {0};
    rl_status status;

    rl_milvus_free(milvus);
    status = rl_milvus_new(&options, &milvus, &err);
    print_result(status, &err);
}

static void upsert(void)
{
    rl_err err = {0};
    size_t rows_count;
    rl_milvus_row *rows = rows_of(4, &rows_count);
    rl_status status = rl_milvus_upsert(milvus, rows, rows_count, (uint32_t)number(3),
                                        (unsigned)number(1), end_of(2), &err);

    print_result(status, &err);
    free(rows);
}

static void find(void)
{
    const rl_milvus_search search = search_of(3);
    rl_milvus_hit *hits = calloc(search.limit + 1, sizeof *hits);
    rl_err err = {0};
    size_t hits_count = 0;
    rl_status status = rl_milvus_find(milvus, &search, (unsigned)number(1), end_of(2),
                                      hits, &hits_count, &err);

    print_result(status, &err);
    print_hits(hits, hits_count);
    free(hits);
}

static void delete_rows(void)
{
    const char **ids = calloc(count, sizeof *ids);
    rl_err err = {0};
    rl_status status;

    for (size_t i = 3; i < count; i++) {
        ids[i - 3] = arg(i);
    }
    status =
        rl_milvus_delete(milvus, ids, count - 3, (unsigned)number(1), end_of(2), &err);
    print_result(status, &err);
    free(ids);
}

static bool use_client(const char *name)
{
    bool known = true;

    if (strcmp(name, "open") == 0) {
        open_client();
    } else if (strcmp(name, "upsert") == 0) {
        upsert();
    } else if (strcmp(name, "find") == 0) {
        find();
    } else if (strcmp(name, "delete") == 0) {
        delete_rows();
    } else {
        known = false;
    }
    return known;
}

int main(void)
{
    bool known = true;

    for (size_t i = 0; i < RL_MILVUS_FIELDS; i++) {
        max_length[i] = rl_milvus_fields[i].max_length;
    }
    rl_buf_init(&out, RL_BUF_MAX);
    while (known && read_command()) {
        unsigned char len[4];

        rl_buf_reset(&out, SIZE_MAX);
        known = put_request(arg(0)) || get_answer(arg(0)) || use_client(arg(0));
        for (int i = 0; i < 4; i++) {
            len[i] = (unsigned char)(out.len >> 8 * i);
        }
        known = known && !out.failed && fwrite(len, 1, 4, stdout) == 4 &&
                (out.len == 0 || fwrite(out.data, 1, out.len, stdout) == out.len) &&
                fflush(stdout) == 0;
        forget_command();
    }
    rl_milvus_free(milvus);
    rl_buf_free(&out);
    forget_command();
    return !known;
}
