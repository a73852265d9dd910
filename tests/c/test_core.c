/* Tests of the small parts of src/core: buf, uuid, redact, err and run. */
#include "core/buf.h"
#include "core/err.h"
#include "core/redact.h"
#include "core/run.h"
#include "core/uuid.h"

#include "check.h"
#include "random.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_buf_grows(void)
{
    uint64_t state = 1;
    char piece[300], *want = malloc(400 * sizeof piece);
    size_t len = 0;
    rl_buf buf;

    rl_buf_init(&buf, RL_BUF_MAX);
    rl_buf_add(&buf, NULL, 0);
    CHECK(buf.data == NULL && buf.len == 0 && !buf.failed);
    for (int i = 0; i < 400; i++) {
        size_t size = random_below(&state, sizeof piece - 12);

        memset(piece, 'a' + i % 26, size);
        memcpy(want + len, piece, size);
        rl_buf_add(&buf, piece, size);
        len += size;
        rl_buf_printf(&buf, "%d", i);
        len += (size_t)snprintf(want + len, 12, "%d", i);
        rl_buf_add_text(&buf, "<>");
        rl_buf_add_char(&buf, ';');
        memcpy(want + len, "<>;", 3);
        len += 3;
    }
    check_mem(buf.data, buf.len, want, len, "buf", __FILE__, __LINE__);
    CHECK(!buf.failed && buf.cap >= buf.len && buf.cap <= 2 * buf.len);
    rl_buf_free(&buf);
    CHECK(buf.data == NULL && buf.len == 0 && buf.max == RL_BUF_MAX);
    free(want);
}

static void test_buf_stays_within_its_cap(void)
{
    static const char text[5000];
    rl_buf buf;

    rl_buf_init(&buf, 3000);
    rl_buf_add(&buf, text, 2999);
    CHECK(!buf.failed && buf.len == 2999);
    rl_buf_add_char(&buf, 'x');
    CHECK(!buf.failed && buf.len == 3000 && buf.cap == 3000);
    rl_buf_add_char(&buf, 'y');
    CHECK(buf.failed && buf.len == 3000);
    rl_buf_reset(&buf, 3000);
    CHECK(!buf.failed && buf.len == 0);
    rl_buf_add(&buf, text, 3001);
    CHECK(buf.failed && buf.len == 0);
    rl_buf_add(&buf, text, 3001);
    rl_buf_printf(&buf, "%3000d", 1);
    CHECK(!rl_buf_reserve(&buf, SIZE_MAX) && !rl_buf_reserve(&buf, SIZE_MAX - 5));
    CHECK(buf.failed && buf.len == 0);
    rl_buf_reset(&buf, 3000);
    rl_buf_add(&buf, text, 3000);
    CHECK(!buf.failed && buf.len == 3000);
    rl_buf_reset(&buf, 3000);
    CHECK(buf.len == 0 && buf.cap == 3000); /* retained for the next use */
    rl_buf_reset(&buf, 2999);
    CHECK(buf.data == NULL && buf.cap == 0);
    rl_buf_add_char(&buf, 'z');
    CHECK_MEM(buf.data, buf.len, "z");
    rl_buf_free(&buf);
}

static int compare_ids(const void *a, const void *b)
{
    return memcmp(a, b, 16);
}

static void test_uuid7_layout(void)
{
    static const uint8_t id[16] = {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef,
                                   0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10};
    uint8_t one[16], some[16] = {0}, all[16], before[16] = {0};
    char text[RL_UUID_TEXT];

    rl_uuid_format(id, text);
    CHECK_STR(text, "01234567-89ab-cdef-fedc-ba9876543210");
    memset(all, 0xFF, sizeof all);
    for (int64_t stamp = INT64_C(1700000000000000); stamp < INT64_C(1700000000003000);
         stamp++) {
        uint64_t millis = 0;

        CHECK_INT(rl_uuid7(stamp, one, NULL), RL_OK);
        for (int i = 0; i < 6; i++) {
            millis = millis << 8 | one[i];
        }
        CHECK_INT(millis, stamp / 1000);
        CHECK_INT((one[6] & 15) << 8 | one[7], stamp % 1000 * 4096 / 1000);
        CHECK(one[6] >> 4 == 7 && one[8] >> 6 == 2);
        CHECK(memcmp(before, one, 8) < 0); /* ids sort by microsecond */
        memcpy(before, one, 16);
        for (int i = 0; i < 16; i++) {
            some[i] |= one[i];
            all[i] &= one[i];
        }
    }
    for (int i = 8; i < 16; i++) { /* every random bit was 0 at least once, and 1 */
        CHECK((some[i] ^ all[i]) == (i == 8 ? 0x3F : 0xFF));
    }
    CHECK_INT(rl_uuid7(-1, one, NULL), RL_OK);
    CHECK(memcmp(one, "\0\0\0\0\0\0\x70\0", 8) == 0);
    CHECK_INT(rl_uuid7(RL_TIME_MAX, one, NULL), RL_OK);
    CHECK(memcmp(one, "\xE6\x77\xD2\x1F\xDB\xFF", 6) == 0);
}

/* 100,000 ids of one time stamp, made by a process and the children that it forks. */
static void test_uuids_are_unique_across_forks(void)
{
    const size_t count = 100000, parts = 5;
    uint8_t(*ids)[16] =
        mmap(NULL, count * 16, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    size_t made = 0;

    REQUIRE(ids != MAP_FAILED);
    for (size_t part = 0; part < parts; part++) {
        bool child = part > 0 && fork() == 0;

        for (size_t i = part; i < count && (child || part == 0); i += parts) {
            CHECK_INT(rl_uuid7(INT64_C(1700000000000000), ids[i], NULL), RL_OK);
        }
        if (child) {
            _exit(0);
        }
    }
    while (wait(NULL) > 0) {
        made++;
    }
    CHECK_INT(made, parts - 1);
    qsort(ids, count, 16, compare_ids);
    for (size_t i = 1; i < count; i++) {
        CHECK(memcmp(ids[i - 1], ids[i], 16) != 0);
    }
    munmap(ids, count * 16);
}

static rl_secrecy judge(const rl_redact *set, const char *name)
{
    return rl_redact_name(set, name, strlen(name));
}

static void test_redact_judges_names(void)
{
    static const char *const all[] = {"password",   "PASSWORD",
                                      "PassWord",   "API-Key",
                                      "api_key",    "Cookie",
                                      "_private",   "-Private",
                                      "x",          "X",
                                      "with space", "schlüssel",
                                      "SCHLüSSEL",  "0123456789abcdef_longer"};
    static const char *const text[] = {"my_password", "openaiApiKey", "x-api-key",
                                       "Set-Cookie",  "accesstoken",  "DB_PASS"};
    static const char *const shown[] = {"",         "passwor",
                                        "tokens",   "max_tokens",
                                        "key",      "private",
                                        "y",        "secretary",
                                        "my_token", "token_count",

                                        "\xC3\xA4", "0123456789abcdef_long"};
    rl_redact set = {0};
    rl_err err;

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        CHECK_INT(judge(&set, all[i]), RL_SHOWN); /* a set without rules */
    }
    CHECK_INT(rl_redact_add(&set, " ,, \t,\n", &err), RL_OK);
    CHECK_INT(set.hidden.count, 0);
    CHECK(!rl_redact_reads_texts(&set));
    CHECK_INT(rl_redact_add(&set,
                            "default, _private ,+X,\twith space\r\n,,schlüssel,-my-token,"
                            "0123456789ABCDEF-longer, -jwt",
                            &err),
              RL_OK);
    CHECK(rl_redact_reads_texts(&set) && !rl_redact_has(&set, RL_RULE_JWT));
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        CHECK_INT(judge(&set, all[i]), RL_HIDE_ALL);
    }
    for (size_t i = 0; i < sizeof text / sizeof *text; i++) {
        CHECK_INT(judge(&set, text[i]), RL_HIDE_TEXT);
    }
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
        CHECK_INT(judge(&set, shown[i]), RL_SHOWN);
    }
    rl_redact_free(&set);
    CHECK_INT(judge(&set, "token"), RL_SHOWN);
}

static void test_err_is_cut_between_characters(void)
{
    static const char *const letters[] = {"a", "ä", "€", "😀"};
    char text[RL_ERR_TEXT + 64];
    rl_err err;

    for (int width = 1; width <= 4; width++) {
        for (size_t shift = 0; shift < 8; shift++) {
            size_t len = shift, len_cut;

            memset(text, 'x', shift);
            while (len < sizeof text - 8) {
                memcpy(text + len, letters[width - 1], (size_t)width);
                len += (size_t)width;
            }
            text[len] = '\0';
            CHECK_INT(rl_err_set(&err, RL_STORE, "%s", text), RL_STORE);
            len_cut = strlen(err.text);
            CHECK(len_cut < RL_ERR_TEXT && len_cut + 2 * (size_t)width >= RL_ERR_TEXT);
            CHECK((len_cut - shift) % (size_t)width == 0 &&
                  memcmp(err.text, text, len_cut) == 0);
        }
    }
}

static void test_err_set_fills_every_member(void)
{
    rl_err err;

    memset(&err, 0x7F, sizeof err);
    CHECK_INT(rl_err_set(&err, RL_CONFIG, "%d ä%s", 3, "€"), RL_CONFIG);
    CHECK_STR(err.text, "3 ä€");
    CHECK(err.code == RL_CONFIG && !err.retryable);
    CHECK_STR(err.sqlstate, "");
    CHECK_INT(rl_err_set(NULL, RL_BUSY, "no error record for %s", "this"), RL_BUSY);
    CHECK_INT(rl_err_nomem(&err), RL_NOMEM);
    CHECK(err.code == RL_NOMEM && strstr(err.text, "memory") != NULL);
}

static void check_column(const rl_run *run, rl_column column, const char *want)
{
    CHECK_STR(rl_run_text(run, column), want);
    CHECK_INT(run->texts[column].len, strlen(want));
}

static void test_run_holds_its_texts(void)
{
    rl_run *run = rl_run_new();
    char big[2000];
    size_t at;

    REQUIRE(run != NULL);
    for (int round = 0; round < 3; round++) {
        for (int column = 0; column < RL_COLUMNS; column++) {
            CHECK(rl_columns[column].name != NULL);
            CHECK(rl_run_text(run, column) == NULL);
        }
        CHECK(run->duration_ms == RL_NO_DURATION && run->created_at == RL_TIME_NONE);
        CHECK(run->started_at == RL_TIME_NONE && !run->wide_numbers);
        rl_run_set(run, RL_WPK_ID, "", 0);
        rl_run_set(run, RL_RUN_ID, "run ä", 6);
        at = rl_run_begin(run);
        for (int i = 0; i < 1000 << (4 * round); i++) { /* 4 kB, then 64 kB, then 1 MB */
            rl_buf_add(&run->arena, "[1],", 4);
        }
        rl_run_end(run, RL_NODE_LOGS, at);
        memset(big, 'b', sizeof big - 1);
        big[sizeof big - 1] = '\0';
        rl_run_set(run, RL_METADATA, big, sizeof big - 1);
        check_column(run, RL_WPK_ID, "");
        check_column(run, RL_RUN_ID, "run ä");
        check_column(run, RL_METADATA, big);
        CHECK_INT(run->texts[RL_NODE_LOGS].len, 4000 << (4 * round));
        CHECK_INT(strlen(rl_run_text(run, RL_NODE_LOGS)), 4000 << (4 * round));
        CHECK(rl_run_text(run, RL_INPUTS) == NULL);
        run->duration_ms = 5;
        run->started_at = 6;
        run->wide_numbers = true;
        CHECK_INT(rl_run_seal(run, NULL), RL_OK);
        rl_run_reset(run);
        CHECK(run->arena.cap < 1 << 20); /* a large arena is not retained */
    }
    rl_run_free(run);
    rl_run_free(NULL);
}

static void test_seal_completes_a_run(void)
{
    int64_t before = rl_time_now();
    uint8_t id[16];
    rl_run *run = rl_run_new();
    rl_err err = {0};

    REQUIRE(run != NULL);
    CHECK_INT(rl_run_seal(run, &err), RL_OK);
    CHECK(run->created_at >= before && run->created_at <= rl_time_now());
    run->created_at = INT64_C(1700000000123456);
    CHECK_INT(rl_run_seal(run, &err), RL_OK);
    CHECK_INT(run->created_at, INT64_C(1700000000123456));
    CHECK_INT(rl_uuid7(run->created_at, id, &err), RL_OK);
    CHECK(memcmp(run->id, id, 8) == 0 && memcmp(run->id + 8, id + 8, 8) != 0);
    run->arena.failed = true;
    CHECK_INT(rl_run_seal(run, &err), RL_NOMEM);
    CHECK_INT(err.code, RL_NOMEM);
    rl_run_reset(run);
    CHECK_INT(rl_run_seal(run, &err), RL_OK);
    rl_run_free(run);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_buf_grows),
    CHECK_TEST(test_buf_stays_within_its_cap),
    CHECK_TEST(test_uuid7_layout),
    CHECK_TEST(test_uuids_are_unique_across_forks),
    CHECK_TEST(test_redact_judges_names),
    CHECK_TEST(test_err_is_cut_between_characters),
    CHECK_TEST(test_err_set_fills_every_member),
    CHECK_TEST(test_run_holds_its_texts),
    CHECK_TEST(test_seal_completes_a_run),
};

CHECK_MAIN(tests)
