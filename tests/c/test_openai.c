/* Test of meaning/services/openai.h against scripted servers (scripted_embeddings.py: the
 * vector of a text is its length in bytes, its first byte, its last byte, and 0.5).
 *
 * NEEDS: http
 */
#include "meaning/services/openai.h"

#include "check.h"
#include "http_help.h"

#include <math.h>

#define KEY "sk-s3cret-key"
#define MANY 3000

struct call {
    rl_openai_options options;
    rl_embed_text texts[MANY];
    size_t count;
    rl_embeddings embeddings;
    rl_err err;
    rl_status status;
    char base[HELP_URL];
};

static struct call call;

static void begin(const char *steps)
{
    memset(&call, 0, sizeof call);
    script(call.base, steps);
    call.options = (rl_openai_options){.key = KEY,
                                       .base_url = call.base,
                                       .model = "a \"model\"",
                                       .timeout_ns = SECONDS(20)};
}

static void add(const char *text)
{
    call.texts[call.count++] = (rl_embed_text){.text = text, .len = strlen(text)};
}

/* Embeds the texts with a new client, in at most `attempts` attempts. */
static void embed_in(unsigned attempts)
{
    rl_openai *openai = NULL;

    memset(&call.err, 0, sizeof call.err);
    call.status = rl_openai_new(&call.options, &openai, &call.err);
    if (call.status == RL_OK) {
        call.status =
            rl_openai_embed(openai, call.texts, call.count, attempts,
                            rl_monotonic_ns() + SECONDS(60), &call.embeddings, &call.err);
    }
    rl_openai_free(openai);
    CHECK(strstr(call.err.text, "s3cret") == NULL);
    CHECK(strchr(call.err.text, '\n') == NULL);
    if (call.status != RL_OK) {
        CHECK(call.embeddings.values == NULL);
    }
}

static void embed(void)
{
    embed_in(1);
}

static void end(void)
{
    rl_embeddings_free(&call.embeddings);
}

/* Checks that each text has the vector of its used part, or zeros if it was refused. */
static void check_vectors(uint32_t dim)
{
    if (call.status != RL_OK) {
        CHECK_STR(call.err.text, "");
        return;
    }
    CHECK_INT(call.embeddings.count, call.count);
    CHECK_INT(call.embeddings.dim, dim);
    for (size_t i = 0; i < call.count && call.embeddings.dim == dim; i++) {
        const rl_embed_text *text = &call.texts[i];
        const unsigned char *bytes = (const unsigned char *)text->text;
        const float *got = call.embeddings.values + i * dim;
        float want[4] = {(float)text->used, 0, 0, 0.5f};

        if (text->used > 0) {
            want[1] = (float)bytes[0];
            want[2] = (float)bytes[text->used - 1];
        }
        if (text->refused) {
            memset(want, 0, sizeof want);
        }
        CHECK(memcmp(got, want, dim * sizeof *got) == 0);
    }
}

static void check_failed_as(bool retryable, const char *text)
{
    CHECK_INT(call.status, RL_SERVICE);
    CHECK(call.err.retryable == retryable);
    if (strstr(call.err.text, text) == NULL) {
        CHECK_STR(call.err.text, text);
    }
}

static void test_texts_get_their_vectors(void)
{
    static const char *const ways[] = {
        "emb",       "emb.numbers",          "emb.shuffled",
        "emb.slash", "emb.numbers.shuffled", "emb.noindex"};

    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        begin(ways[i]);
        add("hello");
        add("a \"quoted\" \\ text\nof \xC3\xA4");
        add("x");
        /* bytes whose vector has slashes in base64 */
        add("\xC3\xBF\xC3\xBF\xC3\xBF");
        add("");
        embed();
        check_vectors(4);
        CHECK_INT(call.texts[0].used, 5);
        CHECK(!call.texts[0].refused);
        end();
    }
}

static void test_no_texts_need_no_request(void)
{
    begin("500");
    embed();
    CHECK_INT(call.status, RL_OK);
    CHECK_INT(call.embeddings.count, 0);
    end();
}

static void test_many_texts_take_several_requests(void)
{
    begin("emb.most2048");
    for (int i = 0; i < MANY; i++) {
        add(i % 2 == 0 ? "even" : "odd one");
    }
    embed();
    check_vectors(4);
    end();
}

static void test_dimensions_are_asked_for(void)
{
    begin("emb");
    add("hello");
    call.options.dimensions = 2;
    embed();
    check_vectors(2);
    end();
    begin("emb");
    add("hello");
    call.options.dimensions = 5; /* the model has four */
    embed();
    check_failed_as(false, "a vector of 4 numbers where 5 were asked for");
    end();
}

static void test_a_text_that_is_refused_is_marked(void)
{
    begin("emb");
    for (int i = 0; i < 37; i++) {
        add(i == 11 || i == 12 || i == 36 ? "this is BAD" : "good");
    }
    embed();
    check_vectors(4);
    for (size_t i = 0; i < call.count; i++) {
        CHECK(call.texts[i].refused == (i == 11 || i == 12 || i == 36));
        CHECK_INT(call.texts[i].used, call.texts[i].refused ? 0 : 4);
    }
    end();
}

static void test_only_refused_texts_fail_the_call(void)
{
    begin("emb");
    add("BAD");
    embed();
    check_failed_as(false,
                    "the text is rejected (answered 422): the content filter does not");
    CHECK(call.err.rejected);
    add("as BAD");
    embed();
    check_failed_as(false, "the text is rejected");
    CHECK(call.err.rejected && call.texts[0].refused && call.texts[1].refused);
    end();
}

static void test_a_server_that_refuses_everything_fails_the_call(void)
{
    begin("emb.refuse");
    for (int i = 0; i < 1000; i++) {
        add("good");
    }
    embed();
    check_failed_as(false,
                    "every request is refused (answered 400): This model does not");
    CHECK(!call.err.rejected); /* the texts are not the reason */
    CHECK(!call.texts[0].refused);
    end();
}

static void test_a_long_text_is_cut(void)
{
    static char text[60001];

    for (size_t i = 0; i < 60000; i += 3) {
        memcpy(text + i, "\xE2\x82\xAC", 3);
    }
    begin("emb");
    add(text);
    add(text);
    call.texts[1].len = 23997;
    embed();
    check_vectors(4);
    CHECK_INT(call.texts[0].used, RL_OPENAI_TEXT);
    CHECK_INT(call.texts[1].used, 23997);
    end();
    begin("emb.max1000"); /* of bytes; a real server counts tokens */
    add("short");
    add(text);
    add("BAD");
    embed();
    check_vectors(4);
    CHECK_INT(call.texts[0].used, 5);
    CHECK_INT(call.texts[1].used, 750); /* 24,000 halved five times */
    CHECK(!call.texts[1].refused && call.texts[2].refused);
    end();
}

static void test_a_request_that_is_too_large_is_split(void)
{
    begin("emb.most3");
    for (int i = 0; i < 10; i++) {
        add("some text");
    }
    embed();
    check_vectors(4);
    end();
}

static void test_invalid_answers_are_errors(void)
{
    static const struct {
        const char *steps, *text;
    } cases[] = {
        {"emb.nan", "a vector with NaN or an infinity in it"},
        {"emb.inf", "a vector with NaN or an infinity in it"},
        {"emb.numbers.nan", "it is not JSON"},
        {"emb.words", "a vector with an element that is not a number"},
        {"emb.cut", "a vector that is not base64 of float32 numbers"},
        {"emb.lengths", "vectors of 4 and of 5 numbers"},
        {"emb.few", "1 vectors for 2 texts"},
        {"emb.many", "3 vectors for 2 texts"},
        {"emb.twice", "a vector whose \"index\" is out of range or repeated"},
        {"emb.none", "an element of \"data\" without \"embedding\""},
        {"emb.empty", "a vector of 0 numbers"},
        {"emb.numbers.empty", "a vector of 0 numbers"},
        {"emb.nojson", "it is not JSON"},
        {"emb.deep", "it is not JSON"},
        {"200", "it has no array \"data\""},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        begin(cases[i].steps);
        add("hello");
        add("world");
        embed();
        check_failed_as(false, cases[i].text);
        check_failed_as(false, "the answer is invalid: ");
        end();
    }
}

static void test_permanent_errors_are_not_retried(void)
{
    static const struct {
        const char *steps, *text;
    } cases[] = {
        {"401,emb", "the key is refused (OPENAI_KEY; answered 401)"},
        {"403,emb", "the key is refused (OPENAI_KEY; answered 403)"},
        {"404,emb", "the model or the URL does not exist"},
        {"quota,emb",
         "the quota is used up (insufficient_quota): You exceeded your quota"},
        {"302,emb", "answered 302, and redirects are not followed (OPENAI_BASE_URL)"},
        {"405,emb", "answered 405: scripted 405"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        begin(cases[i].steps);
        add("hello");
        embed_in(3);
        check_failed_as(false, cases[i].text);
        CHECK(strncmp(call.err.text, "embeddings at http://127.0.0.1:", 31) == 0);
        CHECK(!call.err.rejected);
        end();
    }
}

static void test_transient_errors_are_retried(void)
{
    begin("503,429,close,emb");
    add("hello");
    embed_in(4);
    check_vectors(4);
    end();
    begin("429");
    add("hello");
    embed_in(2);
    check_failed_as(true, ": answered 429 (2 attempts): scripted 429");
    end();
    begin("close");
    add("hello");
    embed();
    check_failed_as(true, "the connection was lost");
    end();
}

/* The server repeats the key and a header's value. */
static void test_errors_hide_what_is_secret(void)
{
    static const char *const headers[] = {"X-Secret: another-s3cret", NULL};

    begin("say");
    call.options.headers = headers;
    add("hello");
    embed();
    CHECK_INT(call.status, RL_SERVICE);
    CHECK(strstr(call.err.text, "line one Bearer *** ***") != NULL);
    end();
}

/* The server's message quotes Authorization and X-Secret. */
static void test_headers_of_the_user_replace_the_key(void)
{
    static const char *const azure[] = {"X-Secret: 1", "API-Key: another-s3cret", NULL};
    static const char *const own[] = {"authorization: Basic eA==", "X-Secret: 2", NULL};

    begin("say");
    call.options.headers = azure;
    add("hello");
    embed();
    CHECK(strstr(call.err.text, ": line one  1") != NULL);
    begin("say");
    call.options.headers = own;
    add("hello");
    embed();
    CHECK(strstr(call.err.text, ": line one *** 2") != NULL);
    end();
}

static void test_a_stop_ends_the_wait(void)
{
    atomic_bool stop = true;

    begin("stall");
    call.options.stop = &stop;
    add("hello");
    embed();
    CHECK_INT(call.status, RL_CLOSED);
    end();
}

/* ---- URLs and headers -------------------------------------------------------------- */

/* The scripts' server answers whatever is behind the steps; scripted_server.py refuses
 * what does not end in /embeddings, before the query. */
static void check_base(const char *steps, const char *behind)
{
    begin(steps);
    snprintf(call.base + strlen(call.base), sizeof call.base - strlen(call.base), "%s",
             behind);
    add("hello");
    embed();
    check_vectors(4);
    end();
}

static void test_the_path_is_added_to_base_urls(void)
{
    check_base("emb", "");
    check_base("emb", "/");
    check_base("emb", "//");
    check_base("emb", "/v1");
    check_base("emb", "/v1/embeddings");
    check_base("emb", "/openai/deployments/d?api-version=2024-06-01");
    check_base("emb", "/openai/deployments/d/?api-version=2024-06-01#x");
    check_base("emb", "?api-version=1");
}

static void check_config(const char *text)
{
    embed();
    CHECK_INT(call.status, RL_CONFIG);
    if (strstr(call.err.text, text) == NULL) {
        CHECK_STR(call.err.text, text);
    }
    end();
}

static void test_invalid_options_are_refused(void)
{
    static const char *const urls[] = {NULL,   "",        "ftp://s3cret@host/v1",
                                       "host", "http://", "http://s3cret\r\nX: y",
                                       "://"};
    static const char *const headers[] = {"",
                                          "no colon s3cret",
                                          ": s3cret",
                                          "X: s3cret\r\nY: s3cret",
                                          "X s3cret: y",
                                          "X\n: s3cret"};

    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        begin("emb");
        call.options.base_url = urls[i];
        check_config("OPENAI_BASE_URL can't be used");
    }
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        const char *const list[] = {"X-Fine: 1", headers[i], NULL};

        begin("emb");
        call.options.headers = list;
        check_config("header 2 for the embeddings can't be sent");
    }
    begin("emb");
    call.options.key = "s3cret\r\nX: y";
    check_config("OPENAI_KEY can't be sent");
    call.options.key = "s3cret\n";
    check_config("OPENAI_KEY can't be sent");
    call.options.key = "";
    check_config("OPENAI_KEY can't be sent");
    begin("emb");
    call.options.model = "";
    check_config("RUNLOG_EMBEDDING_MODEL is empty");
    begin("emb");
    call.options.dimensions = RL_EMBEDDING_DIM_MAX + 1;
    check_config("32769 dimensions");
}

static void test_an_unavailable_server_is_retryable(void)
{
    begin("emb");
    call.options.base_url = "http://u:s3cret@127.0.0.1:1/s3cret";
    add("hello");
    embed();
    check_failed_as(true,
                    "embeddings at http://127.0.0.1:1: no connection to 127.0.0.1:1");
    end();
}

static const struct check_test tests[] = {
    CHECK_TEST(test_texts_get_their_vectors),
    CHECK_TEST(test_no_texts_need_no_request),
    CHECK_TEST(test_many_texts_take_several_requests),
    CHECK_TEST(test_dimensions_are_asked_for),
    CHECK_TEST(test_a_text_that_is_refused_is_marked),
    CHECK_TEST(test_only_refused_texts_fail_the_call),
    CHECK_TEST(test_a_server_that_refuses_everything_fails_the_call),
    CHECK_TEST(test_a_long_text_is_cut),
    CHECK_TEST(test_a_request_that_is_too_large_is_split),
    CHECK_TEST(test_invalid_answers_are_errors),
    CHECK_TEST(test_permanent_errors_are_not_retried),
    CHECK_TEST(test_transient_errors_are_retried),
    CHECK_TEST(test_errors_hide_what_is_secret),
    CHECK_TEST(test_headers_of_the_user_replace_the_key),
    CHECK_TEST(test_a_stop_ends_the_wait),
    CHECK_TEST(test_the_path_is_added_to_base_urls),
    CHECK_TEST(test_invalid_options_are_refused),
    CHECK_TEST(test_an_unavailable_server_is_retryable),
};

CHECK_MAIN(tests)
