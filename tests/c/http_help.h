/* Helpers of the tests of src/net: URLs with scripts for tests/scripted_server.py. */
#ifndef RUNLOG_TESTS_HTTP_HELP_H
#define RUNLOG_TESTS_HTTP_HELP_H

#include "core/clock.h"
#include "net/http.h"

#include "check.h"

#include <stdlib.h>

#define HELP_URL 300
#define SECONDS(s) ((uint64_t)((s)*1e9))

static const char *const help_headers[] = {"Content-Type: application/json",
                                           "X-Secret: s3cret-in-a-header", NULL};

/* Removes the machine's settings of proxies and authorities. */
__attribute__((constructor)) static void help_clear_environment(void)
{
    static const char *const names[] = {
        "http_proxy", "https_proxy",    "HTTPS_PROXY",   "all_proxy",    "ALL_PROXY",
        "no_proxy",   "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "NO_PROXY"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        unsetenv(names[i]);
    }
}

/* The value of a variable that test_c.py sets. */
static inline const char *help_env(const char *name)
{
    const char *value = getenv(name);

    if (value == NULL) {
        printf("FAILED to set up: no %s\n", name);
        exit(1);
    }
    return value;
}

/* A new URL, which the server answers by these steps in turn. */
static inline void script_at(char url[HELP_URL], const char *server, const char *steps)
{
    static int count;

    snprintf(url, HELP_URL, "%s/t%d/%s", server, ++count, steps);
}

static inline void script(char url[HELP_URL], const char *steps)
{
    script_at(url, help_env("TEST_HTTP"), steps);
}

static inline double seconds_since(uint64_t start)
{
    return (double)(rl_monotonic_ns() - start) / 1e9;
}

#endif
