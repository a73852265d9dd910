/* Test of record/worker.h: the thread starts at the first wake-up, makes its passes on
 * time, and is stopped on time even when its work is stuck.
 *
 * LINK: -Wl,--wrap=pthread_create
 */
#include "record/worker.h"

#include "check.h"
#include "core/clock.h"
#include "store_help.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

static atomic_bool no_threads;

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*run)(void *), void *ctx);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*run)(void *), void *ctx);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*run)(void *), void *ctx)
{
    return atomic_load(&no_threads) ? EAGAIN
                                    : __real_pthread_create(thread, attributes, run, ctx);
}

/* The worker's work, and what it has seen. */
struct job {
    rl_worker worker;
    atomic_int calls;
    atomic_uint_fast64_t pause_ns; /* between passes */
    atomic_bool stuck, saw_stop;   /* while stuck it ignores `stop` */
    atomic_bool signals;           /* signals were not blocked */
};

static uint64_t in_millis(uint64_t millis)
{
    return rl_monotonic_ns() + millis * UINT64_C(1000000);
}

static void sleep_a_moment(void)
{
    nanosleep(&(struct timespec){0, 1000000}, NULL);
}

static uint64_t work(void *ctx, const atomic_bool *stop)
{
    struct job *job = ctx;
    sigset_t blocked;

    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    if (!sigismember(&blocked, SIGTERM) || !sigismember(&blocked, SIGCHLD)) {
        atomic_store(&job->signals, true);
    }
    atomic_fetch_add(&job->calls, 1);
    while (atomic_load(&job->stuck)) {
        sleep_a_moment();
    }
    if (atomic_load(stop)) {
        atomic_store(&job->saw_stop, true);
    }
    return rl_monotonic_ns() + atomic_load(&job->pause_ns);
}

static void make_job(struct job *job, uint64_t pause_ns)
{
    memset(job, 0, sizeof *job);
    atomic_store(&job->pause_ns, pause_ns);
    rl_worker_init(&job->worker, work, job);
}

/* Waits until the work was called so often; false after ten seconds. */
static bool has_calls(struct job *job, int calls)
{
    uint64_t end = in_millis(10000);

    while (atomic_load(&job->calls) < calls && rl_monotonic_ns() < end) {
        sleep_a_moment();
    }
    return atomic_load(&job->calls) >= calls;
}

#define HOUR UINT64_C(3600000000000)

static void test_each_wake_up_makes_a_pass(void)
{
    struct job job;

    make_job(&job, HOUR);
    CHECK_INT(atomic_load(&job.calls), 0); /* none before the first wake-up */
    for (int i = 1; i <= 20; i++) {
        CHECK(rl_worker_wake(&job.worker));
        CHECK(has_calls(&job, i));
    }
    CHECK(rl_worker_stop(&job.worker, in_millis(5000)));
    CHECK_INT(atomic_load(&job.calls), 20);
    CHECK(!atomic_load(&job.signals));
    rl_worker_destroy(&job.worker);
}

static void test_passes_repeat_on_time(void)
{
    struct job job;
    uint64_t start = rl_monotonic_ns();

    make_job(&job, UINT64_C(20000000));
    CHECK(rl_worker_wake(&job.worker));
    CHECK(has_calls(&job, 5));
    CHECK(rl_monotonic_ns() - start >= 4 * UINT64_C(20000000));
    CHECK(rl_worker_stop(&job.worker, in_millis(5000)));
    rl_worker_destroy(&job.worker);
}

/* Otherwise work that arrives during a pass would wait. */
static void test_wake_up_during_a_pass_makes_another(void)
{
    struct job job;

    make_job(&job, HOUR);
    atomic_store(&job.stuck, true);
    CHECK(rl_worker_wake(&job.worker));
    CHECK(has_calls(&job, 1));
    CHECK(rl_worker_wake(&job.worker));
    atomic_store(&job.stuck, false);
    CHECK(has_calls(&job, 2));
    CHECK(rl_worker_stop(&job.worker, in_millis(5000)));
    rl_worker_destroy(&job.worker);
}

static void test_stop_interrupts_a_wait(void)
{
    struct job job;

    make_job(&job, HOUR);
    CHECK(rl_worker_wake(&job.worker));
    CHECK(has_calls(&job, 1));
    CHECK(rl_worker_stop(&job.worker, in_millis(60000))); /* far sooner than an hour */
    CHECK(!rl_worker_wake(&job.worker));                  /* it is stopped for good */
    CHECK_INT(atomic_load(&job.calls), 1);
    CHECK(rl_worker_stop(&job.worker, in_millis(5000)));
    rl_worker_destroy(&job.worker);
}

static void test_stop_without_a_thread(void)
{
    struct job job;

    make_job(&job, HOUR);
    CHECK(rl_worker_stop(&job.worker, in_millis(0)));
    CHECK(!rl_worker_wake(&job.worker));
    CHECK_INT(atomic_load(&job.calls), 0);
    rl_worker_destroy(&job.worker);
}

static void test_stuck_work_is_not_waited_for(void)
{
    struct job *job = malloc(sizeof *job); /* it outlives the test's frame */
    uint64_t start, end = in_millis(10000);
    bool running = true;

    REQUIRE(job != NULL);
    make_job(job, HOUR);
    atomic_store(&job->stuck, true);
    CHECK(rl_worker_wake(&job->worker));
    CHECK(has_calls(job, 1));
    start = rl_monotonic_ns();
    CHECK(!rl_worker_stop(&job->worker, in_millis(50)));
    CHECK(rl_monotonic_ns() - start >= UINT64_C(50000000));
    CHECK(rl_monotonic_ns() - start < UINT64_C(5000000000));
    atomic_store(&job->stuck, false); /* the thread ends by itself */
    while (running && rl_monotonic_ns() < end) {
        pthread_mutex_lock(&job->worker.lock);
        running = job->worker.running;
        pthread_mutex_unlock(&job->worker.lock);
    }
    CHECK(!running);
    CHECK(atomic_load(&job->saw_stop));
    CHECK_INT(atomic_load(&job->calls), 1);
    free(job);
}

static void test_wake_up_without_a_thread_fails(void)
{
    struct job job;

    make_job(&job, HOUR);
    atomic_store(&no_threads, true);
    CHECK(!rl_worker_wake(&job.worker));
    CHECK(!rl_worker_wake(&job.worker));
    atomic_store(&no_threads, false);
    CHECK_INT(atomic_load(&job.calls), 0);
    CHECK(rl_worker_wake(&job.worker)); /* a thread can be started again */
    CHECK(has_calls(&job, 1));
    CHECK(rl_worker_stop(&job.worker, in_millis(5000)));
    rl_worker_destroy(&job.worker);
}

/* Many threads wake the worker, one stops it: none waits for ever. */
static void *wake_until_stopped(void *ctx)
{
    struct job *job = ctx;

    while (rl_worker_wake(&job->worker)) {
    }
    return NULL;
}

static void test_many_wakers_and_a_stop(void)
{
    pthread_t threads[4];
    struct job job;

    make_job(&job, HOUR);
    for (int i = 0; i < 4; i++) {
        help_need(pthread_create(&threads[i], NULL, wake_until_stopped, &job) == 0,
                  "a thread");
    }
    CHECK(has_calls(&job, 50));
    CHECK(rl_worker_stop(&job.worker, in_millis(10000)));
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    rl_worker_destroy(&job.worker);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_each_wake_up_makes_a_pass),
    CHECK_TEST(test_passes_repeat_on_time),
    CHECK_TEST(test_wake_up_during_a_pass_makes_another),
    CHECK_TEST(test_stop_interrupts_a_wait),
    CHECK_TEST(test_stop_without_a_thread),
    CHECK_TEST(test_stuck_work_is_not_waited_for),
    CHECK_TEST(test_wake_up_without_a_thread_fails),
    CHECK_TEST(test_many_wakers_and_a_stop),
};

CHECK_MAIN(tests)
