/* Tests of src/net without memory: each allocation fails in turn (failing.h), but not
 * those of libcurl. LeakSanitizer finds leaks.
 *
 * NEEDS: http
 */
#include "meaning/services/openai.h"
#include "net/http.h"

#include "check.h"
#include "failing.h"
#include "http_help.h"

static rl_status make_client(rl_err *err)
{
    const rl_http_options options = {.name = "Test", .timeout_ns = SECONDS(20)};
    rl_http *http = NULL;
    rl_status status = rl_http_new(&options, &http, err);

    CHECK((http != NULL) == (status == RL_OK));
    rl_http_free(http);
    return status;
}

static void test_a_client_without_memory(void)
{
    setenv("SSL_CERT_DIR", "/nowhere", 1);
    setenv("SSL_CERT_FILE", "/nowhere.pem", 1);
    fail_everywhere(make_client, 3);
    unsetenv("SSL_CERT_DIR");
    setenv("CURL_CA_BUNDLE", "/nowhere.pem", 1);
    fail_everywhere(make_client, 2);
    unsetenv("SSL_CERT_FILE");
    unsetenv("CURL_CA_BUNDLE");
}

static rl_status post(rl_err *err)
{
    static char url[HELP_URL];
    const rl_http_options options = {.name = "Test", .timeout_ns = SECONDS(20)};
    const rl_http_request request = {
        .url = url, .headers = help_headers, .max_answer = 10000000};
    rl_http_answer answer;
    rl_http *http = NULL;
    rl_status status = rl_http_new(&options, &http, err);

    rl_http_answer_init(&answer);
    script(url, "big300000");
    if (status == RL_OK) {
        status = rl_http_post(http, &request, 3, rl_monotonic_ns() + SECONDS(60), &answer,
                              err);
        CHECK(status != RL_OK || answer.body.len == 300000);
    }
    rl_http_answer_free(&answer);
    rl_http_free(http);
    return status;
}

static void test_an_answer_without_memory(void)
{
    fail_everywhere(post, 5);
}

static rl_status embed_by(const char *steps, rl_err *err)
{
    static const char *const headers[] = {"X-More: value", NULL};
    char base[HELP_URL];
    const rl_openai_options options = {.key = "key",
                                       .base_url = base,
                                       .model = "model",
                                       .headers = headers,
                                       .timeout_ns = SECONDS(20)};
    rl_embed_text texts[] = {{.text = "one", .len = 3},
                             {.text = "BAD", .len = 3},
                             {.text = "three", .len = 5}};
    rl_embeddings embeddings = {0};
    rl_openai *openai = NULL;
    rl_status status;

    script(base, steps);
    status = rl_openai_new(&options, &openai, err);
    CHECK((openai != NULL) == (status == RL_OK));
    if (status == RL_OK) {
        status = rl_openai_embed(openai, texts, 3, 2, rl_monotonic_ns() + SECONDS(60),
                                 &embeddings, err);
        CHECK((embeddings.values != NULL) == (status == RL_OK));
        CHECK(status != RL_OK || (embeddings.values[8] == 5 && texts[1].refused));
    }
    rl_embeddings_free(&embeddings);
    rl_openai_free(openai);
    return status;
}

static rl_status embed(rl_err *err)
{
    return embed_by("emb.slash", err);
}

static rl_status embed_numbers(rl_err *err)
{
    return embed_by("emb.numbers", err);
}

static void test_embeddings_without_memory(void)
{
    fail_everywhere(embed, 12);
    fail_everywhere(embed_numbers, 12);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_a_client_without_memory),
    CHECK_TEST(test_an_answer_without_memory),
    CHECK_TEST(test_embeddings_without_memory),
};

CHECK_MAIN(tests)
