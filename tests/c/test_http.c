/* Tests of net/http.h against servers that follow scripts.
 *
 * NEEDS: http
 */
#include "net/http.h"

#include "check.h"
#include "http_help.h"
#include "stopwatch.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

/* A call and its result. */
struct exchange {
    rl_http_options options;
    rl_http_request request;
    unsigned attempts;
    double within; /* seconds */
    rl_http *http;
    rl_http_answer answer;
    rl_err err;
    rl_status status;
    double took;    /* seconds */
    double at_work; /* the same, without waits for a processor */
    char url[HELP_URL];
};

static void begin(struct exchange *x)
{
    memset(x, 0, sizeof *x);
    x->options = (rl_http_options){.name = "Test", .timeout_ns = SECONDS(20)};
    x->request = (rl_http_request){.url = x->url,
                                   .headers = help_headers,
                                   .body = "the body",
                                   .len = 8,
                                   .max_answer = 100000};
    x->attempts = 1;
    x->within = 60;
    rl_http_answer_init(&x->answer);
}

static void post(struct exchange *x)
{
    const uint64_t start = rl_monotonic_ns(), watch = stopwatch_ns();

    if (x->http == NULL && rl_http_new(&x->options, &x->http, &x->err) != RL_OK) {
        CHECK_STR(x->err.text, "a client");
        return;
    }
    memset(&x->err, 0, sizeof x->err);
    x->status = rl_http_post(x->http, &x->request, x->attempts,
                             start + SECONDS(x->within), &x->answer, &x->err);
    x->took = seconds_since(start);
    x->at_work = (double)(stopwatch_ns() - watch) / 1e9;
}

static void finish(struct exchange *x)
{
    rl_http_answer_free(&x->answer);
    rl_http_free(x->http);
}

static bool answer_has(const struct exchange *x, const char *text)
{
    const rl_buf *body = &x->answer.body;

    return body->len > 0 && memmem(body->data, body->len, text, strlen(text)) != NULL;
}

static void check_failed_as(const struct exchange *x, bool retryable, const char *text)
{
    CHECK_INT(x->status, RL_SERVICE);
    CHECK_INT(x->err.code, RL_SERVICE);
    CHECK(x->err.retryable == retryable);
    if (strstr(x->err.text, text) == NULL) {
        CHECK_STR(x->err.text, text);
    }
    CHECK(strncmp(x->err.text, "Test", 4) == 0);
    CHECK(strchr(x->err.text, '\n') == NULL);
}

static void test_a_request_is_sent_as_given(void)
{
    struct exchange x;

    begin(&x);
    script(x.url, "echo");
    post(&x);
    CHECK_INT(x.status, RL_OK);
    CHECK_INT(x.answer.status, 200);
    CHECK_INT(x.answer.grpc_status, -1);
    CHECK(answer_has(&x, "POST /t"));
    CHECK(answer_has(&x, "\r\nContent-Type: application/json\r\n"));
    CHECK(answer_has(&x, "\r\nContent-Length: 8\r\n"));
    CHECK(answer_has(&x, "\r\n\r\nthe body"));
    CHECK(!answer_has(&x, "Expect:"));
    x.request.body = calloc(1, 3000000); /* long enough for libcurl to send Expect */
    x.request.len = 3000000;
    x.request.max_answer = 4000000;
    post(&x);
    CHECK_INT(x.status, RL_OK);
    CHECK(!answer_has(&x, "Expect:"));
    CHECK(x.answer.body.len > 3000000);
    free((void *)x.request.body);
    finish(&x);
}

static void test_other_statuses_are_returned(void)
{
    static const long statuses[] = {204, 302, 307, 400, 401, 404, 422};
    struct exchange x;
    char steps[20];

    begin(&x);
    x.attempts = 3;
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        snprintf(steps, sizeof steps, "%ld,500", statuses[i]);
        script(x.url, steps);
        post(&x);
        CHECK_INT(x.status, RL_OK);
        CHECK_INT(x.answer.status, statuses[i]);
    }
    CHECK(answer_has(&x, "scripted 422"));
    finish(&x);
}

static void test_transient_statuses_are_retried(void)
{
    struct exchange x;

    begin(&x);
    x.attempts = 4;
    script(x.url, "503,429,408,200");
    post(&x);
    CHECK_INT(x.status, RL_OK);
    CHECK_INT(x.answer.status, 200);
    CHECK(x.took > 0.125 + 0.25 + 0.5 - 0.01);
    x.attempts = 2;
    script(x.url, "500,502,200");
    post(&x);
    check_failed_as(&x, true, ": answered 502 (2 attempts)");
    CHECK_INT(x.answer.status, 502);
    CHECK(answer_has(&x, "scripted 502"));
    finish(&x);
}

static void test_attempts_without_an_answer_are_retried(void)
{
    static const char *const faults[] = {"close", "reset", "truncate", "garbage"};
    static const char *const texts[] = {
        "the connection was lost", "the connection was lost", "the connection was lost",
        "the answer is not HTTP"};
    struct exchange x;
    char steps[40];

    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        begin(&x);
        snprintf(steps, sizeof steps, "%s,%s,200", faults[i], faults[i]);
        script(x.url, steps);
        post(&x);
        check_failed_as(&x, true, texts[i]);
        CHECK_INT(x.answer.status, 0);
        x.attempts = 3;
        post(&x);
        CHECK_INT(x.status, RL_OK);
        finish(&x);
    }
}

static void test_a_silent_server_times_out(void)
{
    static const char *const steps[] = {"stall", "drip"};

    for (size_t i = 0; i < 2; i++) {
        struct exchange x;

        begin(&x);
        x.options.timeout_ns = SECONDS(0.3);
        script(x.url, steps[i]);
        post(&x);
        check_failed_as(&x, true, ": no answer within 0.3 s");
        CHECK(x.took > 0.29 && x.took < 10);
        finish(&x);
    }
}

static void test_a_call_ends_at_its_time_limit(void)
{
    struct exchange x;

    begin(&x);
    x.attempts = 100;
    x.within = 0.4;
    script(x.url, "stall");
    post(&x);
    check_failed_as(&x, true, ": no answer within 0."); /* what was left of 0.4 s */
    CHECK(x.took > 0.39 && x.took < 10);
    script(x.url, "503");
    x.within = 1.5;
    post(&x);
    check_failed_as(&x, true,
                    strstr(x.err.text, "no answer") != NULL /* the last attempt's time */
                        ? ": no answer within "
                        : ": answered 503 (");
    CHECK(x.at_work < 1.6);
    x.within = 0;
    post(&x);
    check_failed_as(&x, true, ": there was no time left");
    CHECK_INT(x.answer.status, 0);
    finish(&x);
}

static void test_retry_after_sets_the_pause(void)
{
    struct exchange x;

    begin(&x);
    x.attempts = 2;
    script(x.url, "503r1,200");
    post(&x);
    CHECK_INT(x.status, RL_OK);
    CHECK(x.took >= 1);
    CHECK_INT(x.answer.retry_after_ns, 0);
    script(x.url, "429d3,200"); /* a date has whole seconds only */
    post(&x);
    CHECK_INT(x.status, RL_OK);
    CHECK(x.took >= 1.5);
    script(x.url, "503r30,200"); /* after the end of the call: no wait */
    x.within = 15;
    post(&x);
    check_failed_as(&x, true, ": answered 503");
    CHECK(x.took < 10);
    CHECK_INT(x.answer.retry_after_ns, SECONDS(30));
    finish(&x);
}

static bool is_final(const rl_http_answer *answer)
{
    return answer->status == 429 && answer->body.len > 10;
}

static void test_a_final_answer_is_not_retried(void)
{
    struct exchange x;

    begin(&x);
    x.attempts = 3;
    x.request.is_final = is_final;
    script(x.url, "503,429,200");
    post(&x);
    CHECK_INT(x.status, RL_OK);
    CHECK_INT(x.answer.status, 429);
    finish(&x);
}

static void test_a_429_slows_the_client_down(void)
{
    struct exchange x;
    char after[HELP_URL];
    int limited = 0;

    begin(&x);
    script(x.url, "200");
    for (int i = 0; i < 6; i++) {
        post(&x);
        CHECK_INT(x.status, RL_OK);
    }
    script(x.url, "429");
    /* down to the lowest rate; on a busy machine a call may end for another reason */
    for (int i = 0; i < 20 || (limited < 5 && i < 500); i++) {
        x.within = 0.2;
        post(&x);
        check_failed_as(&x, true, "");
        limited += strstr(x.err.text, "the server limits requests") != NULL;
    }
    CHECK(limited >= 5);
    script(after, "200");
    x.request.url = after;
    x.within = 60;
    post(&x);
    CHECK_INT(x.status, RL_OK);
    CHECK(x.took > 0.05);
    finish(&x);
}

/* ---- stopping -------------------------------------------------------------------- */

struct stopper {
    atomic_bool stop;
    pthread_t thread;
    uint64_t at;
};

static void *stop_soon(void *ctx)
{
    struct stopper *stopper = ctx;

    usleep(200000);
    stopper->at = rl_monotonic_ns();
    atomic_store(&stopper->stop, true);
    return NULL;
}

static void test_stop_ends_a_wait(void)
{
    static const char *const steps[] = {"stall", "503r100", "drip"};

    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        struct stopper stopper = {.stop = false};
        struct exchange x;

        begin(&x);
        x.attempts = 3;
        x.within = 1000;
        x.options.stop = &stopper.stop;
        script(x.url, steps[i]);
        REQUIRE(pthread_create(&stopper.thread, NULL, stop_soon, &stopper) == 0);
        post(&x);
        pthread_join(stopper.thread, NULL);
        CHECK_INT(x.status, RL_CLOSED);
        CHECK_STR(x.err.text, "Test: closed before the answer came");
        CHECK(seconds_since(stopper.at) < 5);
        post(&x); /* no attempt starts after that */
        CHECK_INT(x.status, RL_CLOSED);
        CHECK(x.took < 5);
        atomic_store(&stopper.stop, false);
        script(x.url, "200");
        post(&x);
        CHECK_INT(x.status, RL_OK);
        finish(&x);
    }
}

/* ---- connections ----------------------------------------------------------------- */

/* The number of the connection that the server saw. */
static int connection_of(struct exchange *x)
{
    int number = -1;

    post(x);
    CHECK_INT(x->status, RL_OK);
    if (x->status == RL_OK) {
        rl_buf_add_char(&x->answer.body, '\0');
        (void)sscanf(x->answer.body.data, "connection %d", &number);
    }
    return number;
}

static void test_connections_are_reused(void)
{
    struct exchange x;
    int first;

    begin(&x);
    script(x.url, "echo");
    first = connection_of(&x);
    CHECK(first > 0);
    CHECK_INT(connection_of(&x), first);
    finish(&x);
}

static void test_a_lost_connection_is_reopened(void)
{
    struct exchange x;
    int first;

    begin(&x);
    script(x.url, "echo,close,echo");
    first = connection_of(&x);
    CHECK(connection_of(&x) >
          first); /* libcurl itself retries on a connection that was idle */
    finish(&x);
}

/* Uses the parent's client in a child; returns the exit code. */
static int use_in_child(struct exchange *x, int parents)
{
    int number;

    rl_http_abandon(x->http);
    number = connection_of(x);
    CHECK(number > 0 && number != parents);
    CHECK_INT(connection_of(x), number);
    rl_http_abandon(x->http); /* a second time is harmless */
    finish(x);
    return atomic_load(&check_failures) != 0;
}

static void check_fork(const char *server)
{
    struct exchange x;
    int first, status;
    pid_t child;

    begin(&x);
    script_at(x.url, server, "echo");
    first = connection_of(&x);
    for (int i = 0; i < 3; i++) {
        fflush(stdout);
        child = fork();
        if (child == 0) {
            _exit(use_in_child(&x, first));
        }
        CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
        CHECK_INT(connection_of(&x), first);
    }
    finish(&x);
}

static void test_a_fork_leaves_the_parents_connection_alone(void)
{
    check_fork(help_env("TEST_HTTP"));
    setenv("CURL_CA_BUNDLE", help_env("TEST_CA"), 1);
    check_fork(help_env("TEST_HTTPS"));
    unsetenv("CURL_CA_BUNDLE");
}

static void *post_in_thread(void *ctx)
{
    post(ctx);
    return NULL;
}

/* The child must not use libcurl's memory, which is in the middle of a request. */
static void test_a_fork_in_the_middle_of_a_request(void)
{
    char url_of_child[HELP_URL]; /* the thread's may be asked for later than this one */
    struct exchange x;
    pthread_t thread;
    int status;
    pid_t child;

    begin(&x);
    x.options.timeout_ns = SECONDS(3);
    script(x.url, "stall");
    script(url_of_child, "echo");
    REQUIRE(rl_http_new(&x.options, &x.http, &x.err) == RL_OK);
    REQUIRE(pthread_create(&thread, NULL, post_in_thread, &x) == 0);
    usleep(300000);
    child = fork();
    if (child == 0) {
        struct exchange own = x;

        rl_http_abandon(own.http);
        rl_http_answer_init(&own.answer);
        own.request.url = url_of_child;
        post(&own);
        _exit(own.status == RL_OK && own.answer.status == 200 ? 0 : 1);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    pthread_join(thread, NULL);
    check_failed_as(&x, true, "no answer within 3 s");
    finish(&x);
}

/* ---- limits, names, certificates ------------------------------------------------- */

static void test_a_too_large_answer_fails(void)
{
    struct exchange x;

    begin(&x);
    x.attempts = 3;
    script(x.url, "big100000");
    post(&x);
    CHECK_INT(x.status, RL_OK);
    CHECK_INT(x.answer.body.len, 100000);
    x.request.max_answer = 99999;
    post(&x);
    check_failed_as(&x, false, "the answer has more than 99999 bytes");
    CHECK(strstr(x.err.text, "attempts") == NULL);
    finish(&x);
}

static void test_trailers_are_read(void)
{
    struct exchange x;

    begin(&x);
    script(x.url, "trailers");
    post(&x);
    CHECK_INT(x.status, RL_OK);
    CHECK_INT(x.answer.grpc_status, 14);
    CHECK_STR(x.answer.grpc_message, "not \xC3\xA4 ready yet %zz");
    CHECK_MEM(x.answer.body.data, x.answer.body.len, "hello");
    finish(&x);
}

static void check_url(const char *url, bool retryable, const char *text)
{
    struct exchange x;

    begin(&x);
    x.request.url = url;
    post(&x);
    check_failed_as(&x, retryable, text);
    CHECK(strstr(x.err.text, "s3cret") == NULL);
    finish(&x);
}

static void test_unusable_urls_are_reported(void)
{
    check_url(
        "http://u:s3cret@127.0.0.1:1/s3cret?key=s3cret", true,
        "Test at http://127.0.0.1:1: no connection to 127.0.0.1:1: Connection refused");
    check_url("https://s3cret@nowhere.invalid/s3cret", true,
              "Test at https://nowhere.invalid: the host was not found");
    check_url("", false, "Test: the URL can't be used");
    check_url("ftp://s3cret@127.0.0.1/s3cret", false, "Test: the URL can't be used");
    check_url("file:///etc/s3cret", false, "Test: the URL can't be used");
    check_url("http://", false, "Test: the URL can't be used");
    check_url("http://u:s3cret@host:99999/", false, "Test: the URL can't be used");
    check_url("http://ho st/s3cret", false, "Test: the URL can't be used");
}

static void check_certificate(const char *server, const char *text)
{
    char url[HELP_URL];

    script_at(url, help_env(server), "200");
    check_url(url, true, text);
}

static void test_certificates_are_verified(void)
{
    struct exchange x;

    check_certificate("TEST_HTTPS", "the certificate was rejected: ");
    setenv("SSL_CERT_FILE", help_env("TEST_CA"), 1);
    begin(&x);
    x.attempts = 5;
    script_at(x.url, help_env("TEST_HTTPS"), "503,200");
    post(&x);
    CHECK_INT(x.status, RL_OK);
    finish(&x);
    begin(&x);
    x.attempts = 5;
    script_at(x.url, help_env("TEST_HTTPS_EXPIRED"), "200");
    post(&x);
    check_failed_as(&x, true, "certificate has expired");
    CHECK(strstr(x.err.text, "attempts") == NULL); /* no retry could help */
    finish(&x);
    check_certificate("TEST_HTTPS_OTHER", "the certificate was rejected: ");
    setenv("CURL_CA_BUNDLE", "/nowhere/ca.pem", 1);
    check_certificate("TEST_HTTPS", "/nowhere/ca.pem");
    unsetenv("CURL_CA_BUNDLE");
    unsetenv("SSL_CERT_FILE");
}

static void test_proxies_come_from_the_environment(void)
{
    struct exchange x;
    char proxy[HELP_URL];

    begin(&x);
    snprintf(proxy, sizeof proxy, "http://u:s3cret@%s", help_env("TEST_HTTP") + 7);
    setenv("http_proxy", proxy, 1);
    script_at(x.url, "http://somewhere.invalid", "echo");
    post(&x);
    CHECK_INT(x.status, RL_OK);
    CHECK(answer_has(&x, "POST http://somewhere.invalid/"));
    CHECK(answer_has(&x, "Proxy-Authorization: "));
    finish(&x);
    setenv("http_proxy", "http://u:s3cret@127.0.0.1:1", 1);
    check_url(
        "http://somewhere.invalid/", true,
        "Test at http://somewhere.invalid: no connection to 127.0.0.1:1: Connection");
    setenv("http_proxy", "what://u:s3cret@127.0.0.1:1", 1);
    check_url("http://somewhere.invalid/", true, "proxy that the environment names");
    setenv("http_proxy", "http://u:s3cret@nowhere.invalid:1", 1);
    check_url("http://somewhere.invalid/", true, "proxy that the environment names");
    setenv("no_proxy", "127.0.0.1", 1);
    check_url("http://127.0.0.1:1/", true, "no connection to 127.0.0.1:1");
    unsetenv("no_proxy");
    unsetenv("http_proxy");
}

static void test_grpc_needs_http2(void)
{
    struct exchange x;

    begin(&x);
    x.request.grpc = true;
    script(x.url, "200"); /* the server answers the preface in HTTP/1.1 */
    post(&x);
    check_failed_as(&x, true, "Test at http://127.0.0.1:");
    finish(&x);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_a_request_is_sent_as_given),
    CHECK_TEST(test_other_statuses_are_returned),
    CHECK_TEST(test_transient_statuses_are_retried),
    CHECK_TEST(test_attempts_without_an_answer_are_retried),
    CHECK_TEST(test_a_silent_server_times_out),
    CHECK_TEST(test_a_call_ends_at_its_time_limit),
    CHECK_TEST(test_retry_after_sets_the_pause),
    CHECK_TEST(test_a_final_answer_is_not_retried),
    CHECK_TEST(test_a_429_slows_the_client_down),
    CHECK_TEST(test_stop_ends_a_wait),
    CHECK_TEST(test_connections_are_reused),
    CHECK_TEST(test_a_lost_connection_is_reopened),
    CHECK_TEST(test_a_fork_leaves_the_parents_connection_alone),
    CHECK_TEST(test_a_fork_in_the_middle_of_a_request),
    CHECK_TEST(test_a_too_large_answer_fails),
    CHECK_TEST(test_trailers_are_read),
    CHECK_TEST(test_unusable_urls_are_reported),
    CHECK_TEST(test_certificates_are_verified),
    CHECK_TEST(test_proxies_come_from_the_environment),
    CHECK_TEST(test_grpc_needs_http2),
};

CHECK_MAIN(tests)
