/* Tests of net/http.h with a lookup of a host's name that hangs: a call times out all the
 * same, and freeing the client does not wait for the lookup.
 *
 * This program's getaddrinfo replaces the C library's, also for libcurl.
 */
#include "net/http.h"

#include "check.h"
#include "http_help.h"

#include <dirent.h>
#include <netdb.h>
#include <pthread.h>
#include <time.h>

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int started, ended;
    bool over; /* lookups may end */
} lookups = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, false};

__attribute__((visibility("default"))) int getaddrinfo(const char *node,
                                                       const char *service,
                                                       const struct addrinfo *hints,
                                                       struct addrinfo **result)
{
    (void)node;
    (void)service;
    (void)hints;
    (void)result;
    pthread_mutex_lock(&lookups.lock);
    lookups.started++;
    while (!lookups.over) {
        pthread_cond_wait(&lookups.changed, &lookups.lock);
    }
    lookups.ended++;
    pthread_mutex_unlock(&lookups.lock);
    return EAI_NONAME;
}

/* The number of lookups that have not ended. */
static int lookups_under_way(void)
{
    int count;

    pthread_mutex_lock(&lookups.lock);
    count = lookups.started - lookups.ended;
    pthread_mutex_unlock(&lookups.lock);
    return count;
}

/* The number of threads of this process. */
static int count_threads(void)
{
    DIR *folder = opendir("/proc/self/task");
    const struct dirent *entry;
    int count = 0;

    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        count += entry->d_name[0] != '.';
    }
    if (folder != NULL) {
        closedir(folder);
    }
    return count;
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
}

static void test_a_hanging_lookup_times_out(void)
{
    check_lookup(NULL, RL_SERVICE, "the host's name was not found within 0.3 s");
    CHECK_INT(lookups_under_way(), 1);
}

static void test_a_hanging_lookup_times_out_with_a_stop(void)
{
    const atomic_bool stop = false;
    const int before = lookups_under_way();

    check_lookup(&stop, RL_SERVICE, "the host's name was not found within 0.3 s");
    CHECK_INT(lookups_under_way(), before + 1);
}

static int threads_before; /* the lookups: a sanitizer may have a thread of its own */

/* libcurl's threads free their memory when the lookups end. */
static void test_abandoned_lookups_leave_no_leak(void)
{
    const struct timespec moment = {0, 1000000};

    pthread_mutex_lock(&lookups.lock);
    lookups.over = true;
    pthread_cond_broadcast(&lookups.changed);
    pthread_mutex_unlock(&lookups.lock);
    while (count_threads() > threads_before) {
        nanosleep(&moment, NULL);
    }
    CHECK_INT(lookups_under_way(), 0);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_a_hanging_lookup_times_out),
    CHECK_TEST(test_a_hanging_lookup_times_out_with_a_stop),
    CHECK_TEST(test_abandoned_lookups_leave_no_leak),
};

static void *do_nothing(void *arg)
{
    return arg;
}

/* ThreadSanitizer starts its own thread at the first of the program's. */
int main(int argc, char **argv)
{
    pthread_t first;

    if (pthread_create(&first, NULL, do_nothing, NULL) == 0) {
        pthread_join(first, NULL);
    }
    threads_before = count_threads();
    return check_run(tests, sizeof tests / sizeof *tests, argc, argv);
}
