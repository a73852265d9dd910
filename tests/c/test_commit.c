/* Test of record/commit/commit.h over a fake store, which blocks in a write until it gets
 * a pass, fails on request, and records each batch.
 *
 * LINK: -Wl,--wrap=pthread_cond_timedwait
 */
#include "record/commit/commit.h"

#include "check.h"
#include "core/clock.h"
#include "store_help.h"

#include <pthread.h>

#define MAX_CALLERS 200
#define MILLIS UINT64_C(1000000)

static atomic_int waits; /* waits with a time limit that have begun */

int __real_pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *lock,
                                  const struct timespec *until);
int __wrap_pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *lock,
                                  const struct timespec *until);

int __wrap_pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *lock,
                                  const struct timespec *until)
{
    atomic_fetch_add(&waits, 1);
    return __real_pthread_cond_timedwait(condition, lock, until);
}

struct call {
    size_t count;
    rl_durability durability;
    bool may_wait;
};

struct fake {
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    bool gated; /* a write blocks until there is a pass for it */
    int passes;
    rl_status fail; /* the status of every write, unless it is RL_OK */
    bool retryable;
    struct call calls[2 * MAX_CALLERS];
    size_t entered, called;         /* writes that began, that returned */
    const char *order[MAX_CALLERS]; /* the names of the runs that were written */
    size_t written;
};

/* Rejects a batch with a run whose name begins with "bad". */
static rl_status fake_write(void *ctx, const rl_batch *batch, rl_err *err)
{
    struct fake *fake = ctx;
    rl_status status;

    pthread_mutex_lock(&fake->lock);
    fake->entered++;
    pthread_cond_broadcast(&fake->changed);
    while (fake->gated && fake->passes == 0) {
        pthread_cond_wait(&fake->changed, &fake->lock);
    }
    fake->passes--;
    fake->calls[fake->called++] =
        (struct call){batch->count, batch->durability, batch->wait};
    status = fake->fail;
    if (status != RL_OK) {
        rl_err_set(err, status, "failed on request");
        err->retryable = fake->retryable;
    }
    for (size_t i = 0; i < batch->count && status == RL_OK; i++) {
        const char *name = rl_run_text(batch->runs[i], RL_RUN_ID);

        if (strncmp(name, "bad", 3) == 0) {
            status = rl_err_set(err, RL_STORE, "%s is rejected", name);
        }
    }
    for (size_t i = 0; i < batch->count && status == RL_OK; i++) {
        fake->order[fake->written++] = rl_run_text(batch->runs[i], RL_RUN_ID);
    }
    pthread_mutex_unlock(&fake->lock);
    return status;
}

/* One caller of rl_commit_run, in a thread of its own. */
struct caller {
    rl_commit *commit;
    rl_run *run;
    rl_durability durability;
    rl_status status;
    rl_err err;
    pthread_t thread;
};

struct setting {
    struct fake fake;
    rl_metrics metrics;
    rl_commit *commit;
    struct caller callers[MAX_CALLERS];
    size_t count;
};

static struct setting *new_setting(bool gated)
{
    struct setting *setting = calloc(1, sizeof *setting);

    help_need(setting != NULL, "memory");
    setting->fake.gated = gated;
    pthread_mutex_init(&setting->fake.lock, NULL);
    pthread_cond_init(&setting->fake.changed, NULL);
    setting->commit = rl_commit_new(fake_write, &setting->fake, &setting->metrics);
    help_need(setting->commit != NULL, "a queue");
    return setting;
}

static void *call(void *ctx)
{
    struct caller *caller = ctx;

    caller->status =
        rl_commit_run(caller->commit, caller->run, caller->durability, &caller->err);
    return NULL;
}

/* Starts a caller, and returns when it is in the queue, or in the store if it is
 * first. */
static void start_caller(struct setting *setting, const char *run_id,
                         rl_durability durability)
{
    struct caller *caller = &setting->callers[setting->count++];

    caller->commit = setting->commit;
    caller->run = new_run("w", run_id, "completed");
    caller->durability = durability;
    help_need(pthread_create(&caller->thread, NULL, call, caller) == 0, "a thread");
    while (rl_commit_queued(setting->commit) < setting->count) {
        usleep(50);
    }
}

/* Waits until `count` writes have begun. */
static void wait_entered(struct fake *fake, size_t count)
{
    pthread_mutex_lock(&fake->lock);
    while (fake->entered < count) {
        pthread_cond_wait(&fake->changed, &fake->lock);
    }
    pthread_mutex_unlock(&fake->lock);
}

static void let_through(struct fake *fake, int passes)
{
    pthread_mutex_lock(&fake->lock);
    fake->passes = passes;
    pthread_cond_broadcast(&fake->changed);
    pthread_mutex_unlock(&fake->lock);
}

/* A leader that is blocked in the store, and callers "0", "1", ... queued after it. */
static struct setting *queue_up(size_t count)
{
    struct setting *setting = new_setting(true);
    char name[40];

    start_caller(setting, "leader", RL_JOURNAL);
    wait_entered(&setting->fake, 1);
    for (size_t i = 0; i < count; i++) {
        snprintf(name, sizeof name, "%zu", i);
        start_caller(setting, name, RL_JOURNAL);
    }
    CHECK_INT(setting->fake.entered, 1);
    return setting;
}

/* Lets all writes through and waits for the callers. */
static void finish_callers(struct setting *setting)
{
    let_through(&setting->fake, 1000000);
    for (size_t i = 0; i < setting->count; i++) {
        pthread_join(setting->callers[i].thread, NULL);
    }
    CHECK_INT(rl_commit_queued(setting->commit), 0);
}

static void free_setting(struct setting *setting)
{
    for (size_t i = 0; i < setting->count; i++) {
        rl_run_free(setting->callers[i].run);
    }
    rl_commit_free(setting->commit);
    pthread_cond_destroy(&setting->fake.changed);
    pthread_mutex_destroy(&setting->fake.lock);
    free(setting);
}

static void check_call(const struct setting *setting, size_t index, size_t count,
                       rl_durability durability, bool may_wait)
{
    const struct call *made = &setting->fake.calls[index];

    CHECK(index < setting->fake.called);
    CHECK_INT(made->count, count);
    CHECK_INT(made->durability, durability);
    CHECK(made->may_wait == may_wait);
}

static void test_single_caller_commits_alone(void)
{
    struct setting *setting = new_setting(false);
    rl_run *run = new_run("w", "a", "completed");
    rl_err err;

    for (int i = 0; i < 3; i++) {
        CHECK_INT(rl_commit_run(setting->commit, run, (rl_durability)i, &err), RL_OK);
        check_call(setting, (size_t)i, 1, (rl_durability)i, true);
    }
    CHECK_INT(rl_commit_try(setting->commit, run, RL_JOURNAL, &err), RL_OK);
    check_call(setting, 3, 1, RL_JOURNAL, false);
    CHECK_INT(rl_metric_get(&setting->metrics.runs), 4);
    CHECK_INT(rl_metric_get(&setting->metrics.commits), 4);
    CHECK_INT(rl_metric_get(&setting->metrics.largest_commit), 1);
    rl_run_free(run);
    free_setting(setting);
}

/* The callers behind a leader are written in one batch, in order, with the highest
 * durability among them. */
static void test_waiting_callers_share_one_commit(void)
{
    struct setting *setting = queue_up(20);
    char name[40];

    start_caller(setting, "20", RL_SERVER);
    start_caller(setting, "21", RL_DISK);
    finish_callers(setting);
    CHECK_INT(setting->fake.called, 2);
    check_call(setting, 0, 1, RL_JOURNAL, true);
    check_call(setting, 1, 22, RL_SERVER, true);
    CHECK_INT(setting->fake.written, 23);
    CHECK_STR(setting->fake.order[0], "leader");
    for (size_t i = 0; i < 22; i++) {
        snprintf(name, sizeof name, "%zu", i);
        CHECK_STR(setting->fake.order[i + 1], name);
        CHECK_INT(setting->callers[i + 1].status, RL_OK);
    }
    CHECK_INT(rl_metric_get(&setting->metrics.runs), 23);
    CHECK_INT(rl_metric_get(&setting->metrics.commits), 2);
    CHECK_INT(rl_metric_get(&setting->metrics.largest_commit), 22);
    free_setting(setting);
}

static void test_batches_have_a_limit(void)
{
    struct setting *setting = queue_up(MAX_CALLERS - 1);

    finish_callers(setting);
    CHECK_INT(setting->fake.called, 3);
    check_call(setting, 1, RL_COMMIT_RUNS, RL_JOURNAL, true);
    check_call(setting, 2, MAX_CALLERS - 1 - RL_COMMIT_RUNS, RL_JOURNAL, true);
    CHECK_INT(setting->fake.written, MAX_CALLERS);
    free_setting(setting);

    setting = queue_up(7);
    for (size_t i = 1; i < 8; i++) { /* the leader reads the sizes when it has written */
        CHECK(rl_buf_reserve(&setting->callers[i].run->arena, RL_COMMIT_BYTES / 3 + 1));
        setting->callers[i].run->arena.len += RL_COMMIT_BYTES / 3 + 1;
    }
    finish_callers(setting);
    CHECK_INT(setting->fake.called, 4);
    check_call(setting, 1, 3, RL_JOURNAL, true);
    check_call(setting, 2, 3, RL_JOURNAL, true);
    check_call(setting, 3, 1, RL_JOURNAL, true);
    free_setting(setting);
}

/* When one run of a batch is rejected, only that run fails. */
static void test_rejected_run_fails_alone(void)
{
    struct setting *setting = queue_up(4);

    start_caller(setting, "bad", RL_DISK);
    start_caller(setting, "last", RL_JOURNAL);
    finish_callers(setting);
    for (size_t i = 0; i < setting->count; i++) {
        CHECK_INT(setting->callers[i].status, i == 5 ? RL_STORE : RL_OK);
    }
    CHECK_STR(setting->callers[5].err.text, "bad is rejected");
    CHECK_INT(setting->callers[5].err.code, RL_STORE);
    CHECK_INT(setting->fake.called, 2 + 6); /* the leader, the batch, and each alone */
    check_call(setting, 1, 6, RL_DISK, true);
    check_call(setting, 2, 1, RL_JOURNAL, true);
    check_call(setting, 6, 1, RL_DISK, true);
    CHECK_INT(setting->fake.written, 6);
    CHECK_STR(setting->fake.order[5], "last");
    CHECK_INT(rl_metric_get(&setting->metrics.runs), 6);
    CHECK_INT(rl_metric_get(&setting->metrics.failed), 1);
    free_setting(setting);
}

/* An error that no single run causes fails all of them, in one attempt. */
static void test_store_error_fails_the_batch(void)
{
    static const struct {
        rl_status status;
        bool retryable;
    } cases[] = {{RL_STORE, true}, {RL_NOMEM, false}};

    for (int i = 0; i < 2; i++) {
        struct setting *setting = queue_up(5);

        setting->fake.fail = cases[i].status;
        setting->fake.retryable = cases[i].retryable;
        finish_callers(setting);
        CHECK_INT(setting->fake.called, 2);
        for (size_t j = 0; j < setting->count; j++) {
            CHECK_INT(setting->callers[j].status, cases[i].status);
            CHECK_STR(setting->callers[j].err.text, "failed on request");
            CHECK(setting->callers[j].err.retryable == cases[i].retryable);
        }
        CHECK_INT(rl_metric_get(&setting->metrics.failed), 6);
        CHECK_INT(rl_metric_get(&setting->metrics.runs), 0);
        setting->fake.fail = RL_OK;
        CHECK_INT(rl_commit_run(setting->commit, setting->callers[0].run, RL_DISK,
                                &setting->callers[0].err),
                  RL_OK);
        free_setting(setting);
    }
}

static void test_try_never_waits(void)
{
    struct setting *setting = queue_up(1);
    rl_run *run = new_run("w", "tried", "completed");
    rl_err err;

    CHECK_INT(rl_commit_try(setting->commit, run, RL_JOURNAL, &err), RL_BUSY);
    CHECK_INT(rl_commit_queued(setting->commit), 2);
    finish_callers(setting);
    CHECK_INT(setting->fake.written, 2); /* the run was not written */
    setting->fake.fail = RL_BUSY;
    CHECK_INT(rl_commit_try(setting->commit, run, RL_JOURNAL, &err), RL_BUSY);
    CHECK_INT(rl_metric_get(&setting->metrics.failed), 0);
    setting->fake.fail = RL_OK;
    CHECK_INT(rl_commit_try(setting->commit, run, RL_JOURNAL, &err), RL_OK);
    CHECK_STR(setting->fake.order[2], "tried");
    rl_run_free(run);
    free_setting(setting);
}

struct drainer {
    rl_commit *commit;
    rl_status status;
};

static void *drain(void *ctx)
{
    struct drainer *drainer = ctx;

    drainer->status =
        rl_commit_drain(drainer->commit, rl_monotonic_ns() + 20000 * MILLIS);
    return NULL;
}

/* A drain waits for the runs queued before it, not for later ones. */
static void test_drain_waits_for_earlier_runs(void)
{
    struct setting *setting = new_setting(true);
    struct drainer drainer = {setting->commit, RL_CLOSED};
    uint64_t start = rl_monotonic_ns();
    pthread_t thread;
    int before;

    CHECK_INT(rl_commit_drain(setting->commit, 0), RL_OK); /* the queue is empty */
    start_caller(setting, "first", RL_JOURNAL);
    wait_entered(&setting->fake, 1);
    CHECK_INT(rl_commit_drain(setting->commit, 0), RL_TIMEOUT);
    CHECK_INT(rl_commit_drain(setting->commit, start + 20 * MILLIS), RL_TIMEOUT);
    CHECK(rl_monotonic_ns() >= start + 20 * MILLIS);
    before = atomic_load(&waits);
    pthread_create(&thread, NULL, drain, &drainer);
    while (atomic_load(&waits) == before) {
        usleep(50);
    }
    start_caller(setting, "second", RL_JOURNAL);
    let_through(&setting->fake, 1);
    wait_entered(&setting->fake, 2); /* the second is in the store and stays there */
    pthread_join(thread, NULL);
    CHECK_INT(drainer.status, RL_OK);
    CHECK(rl_monotonic_ns() - start < 10000 * MILLIS); /* woken, not timed out */
    CHECK_INT(setting->fake.written, 1);
    CHECK_INT(rl_commit_queued(setting->commit), 1);
    setting->fake.fail = RL_STORE;
    finish_callers(setting);
    CHECK_INT(rl_commit_drain(setting->commit, 0),
              RL_OK); /* a failed run is finished, too */
    free_setting(setting);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_single_caller_commits_alone),
    CHECK_TEST(test_waiting_callers_share_one_commit),
    CHECK_TEST(test_batches_have_a_limit),
    CHECK_TEST(test_rejected_run_fails_alone),
    CHECK_TEST(test_store_error_fails_the_batch),
    CHECK_TEST(test_try_never_waits),
    CHECK_TEST(test_drain_waits_for_earlier_runs),
};

CHECK_MAIN(tests)
