/* Test of net/http.h where the look-up of a host's name hangs: neither a time-out nor a stop, nor
 * the end of a client, waits for it.
 *
 * This program's getaddrinfo takes the place of the C library's, also for libcurl.
 */
#include "net/http.h"

#include "check.h"
#include "http_help.h"

#include <netdb.h>
#include <unistd.h>

#define LOOKUP_SECONDS 8

static atomic_int lookups;

__attribute__((visibility("default"))) int getaddrinfo(const char *node,
                                                       const char *service,
                                                       const struct addrinfo *hints,
                                                       struct addrinfo **result)
{
    (void)node;
    (void)service;
    (void)hints;
    (void)result;
    atomic_fetch_add(&lookups, 1);
    sleep(LOOKUP_SECONDS);
    return EAI_NONAME;
}

static void check_lookup(const atomic_bool *stop, rl_status want, const char *text)
{
    const rl_http_options options = {
        .name = "Test", .timeout_ns = SECONDS(0.3), .stop = stop};
    const rl_http_request request = {.url = "http://somewhere.invalid/",
                                     .headers = help_headers};
    const uint64_t start = rl_monotonic_ns();
    rl_http_answer answer;
    rl_http *http = NULL;
    rl_err err = {.code = RL_OK};

    rl_http_answer_init(&answer);
    REQUIRE(rl_http_new(&options, &http, &err) == RL_OK);
    CHECK_INT(rl_http_post(http, &request, 1, start + SECONDS(100), &answer, &err), want);
    if (strstr(err.text, text) == NULL) {
        CHECK_STR(err.text, text);
    }
    rl_http_answer_free(&answer);
    rl_http_free(http);
    CHECK(seconds_since(start) < LOOKUP_SECONDS - 2);
}

static void test_a_time_out(void)
{
    check_lookup(NULL, RL_SERVICE, "the host's name was not found within 0.3 s");
    CHECK_INT(atomic_load(&lookups), 1);
}

static void test_a_client_that_can_be_stopped(void)
{
    const atomic_bool stop = false;

    check_lookup(&stop, RL_SERVICE, "the host's name was not found within 0.3 s");
    CHECK_INT(atomic_load(&lookups), 2);
    sleep(
        LOOKUP_SECONDS); /* libcurl's threads free what they have when they are through */
}

static const struct check_test tests[] = {
    CHECK_TEST(test_a_time_out),
    CHECK_TEST(test_a_client_that_can_be_stopped),
};

CHECK_MAIN(tests)
