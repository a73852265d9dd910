/* Test of record/graph/live.h and the table of open runs behind it: which runs are
 * written when, how often the worker is woken, the table's limits, forks, and threads
 * that record meanwhile.
 *
 * LINK: -Wl,--wrap=rl_monotonic_ns
 */
#include "record/graph/live.h"

#include "check.h"
#include "core/fork.h"
#include "graph_help.h"
#include "json_valid.h"
#include "record/owner.h"
#include "store_help.h"

#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>

#define MILLISECOND UINT64_C(1000000)
#define HOUR (3600000 * MILLISECOND)

/* What the clock shows, while the test holds it; else 0. */
static atomic_uint_fast64_t held_at;

uint64_t __real_rl_monotonic_ns(void);
uint64_t __wrap_rl_monotonic_ns(void);

uint64_t __wrap_rl_monotonic_ns(void)
{
    const uint64_t held = atomic_load(&held_at);

    return held != 0 ? held : __real_rl_monotonic_ns();
}

/* From here to let_clock_go, no first time of a run comes. */
static void hold_clock(void)
{
    atomic_store(&held_at, __real_rl_monotonic_ns());
}

static void let_clock_go(void)
{
    atomic_store(&held_at, 0);
}

/* Recorders: only their addresses are compared. */
static const char one_recorder, another_recorder;

/* The committed pieces, as run ids with the number of node logs: "a0 b2 ". */
struct committed {
    char texts[400];
    rl_status status; /* of each commit */
};

static const char *parts_of(const rl_run *run)
{
    return run->parts.given ? run->arena.data + run->parts.at : "{}";
}

/* The node logs of a whole row, or of a piece. */
static int nodes_of(const rl_run *run)
{
    const char *logs = rl_run_text(run, RL_NODE_LOGS);
    int count = 0;

    for (const char *at = logs != NULL ? logs : parts_of(run);
         (at = strstr(at, "{\"node\":")) != NULL; at++) {
        count++;
    }
    return count;
}

static rl_status commit(void *ctx, rl_run *run, rl_err *err)
{
    struct committed *committed = ctx;
    size_t len = strlen(committed->texts);

    CHECK_STR(rl_run_text(run, RL_STATUS), "running");
    CHECK(run->is_own && run->revision > 0);
    CHECK(rl_run_text(run, RL_NODE_LOGS) == NULL && run->parts_use == RL_PARTS_ADD);
    snprintf(committed->texts + len, sizeof committed->texts - len, "%s%d ",
             rl_run_text(run, RL_RUN_ID), nodes_of(run));
    return committed->status == RL_OK ? RL_OK : rl_err_set(err, committed->status, "no");
}

static uint64_t write_scheduled(rl_live *live)
{
    struct committed ignored = {.texts = ""};

    return rl_live_write_scheduled(live, &one_recorder, commit, &ignored);
}

/* Writes as the worker does, at once, and checks which runs were written. */
static uint64_t check_scheduled(rl_live *live, const char *want)
{
    struct committed committed = {.texts = ""};
    uint64_t next;

    atomic_store(&live->next, 0);
    next = rl_live_write_scheduled(live, &one_recorder, commit, &committed);
    CHECK_STR(committed.texts, want);
    return next;
}

static void check_all(rl_live *live, const char *want)
{
    struct committed committed = {.texts = ""};
    uint64_t next = atomic_load(&live->next);

    rl_live_write_all(live, &one_recorder, commit, &committed);
    CHECK_STR(committed.texts, want);
    CHECK(atomic_load(&live->next) == next);
}

static void open_live(rl_graphs *graphs, uint64_t number, const char *run_id,
                      uint64_t interval_ns, const void *recorder)
{
    rl_graph_start given = graph_of(NULL);

    given.run_id = text(run_id);
    given.interval_ns = interval_ns;
    given.recorder = recorder;
    begin_graph_as(graphs, number, &given);
}

static void wait_until(uint64_t when)
{
    const struct timespec moment = {0, 500000};

    while (rl_monotonic_ns() < when) {
        nanosleep(&moment, NULL);
    }
}

static void drop_graph(rl_graphs *graphs, uint64_t number)
{
    rl_graph_free(rl_graphs_take(graphs, key_of(number)));
}

static void test_changed_runs_are_written_at_intervals(void)
{
    const uint64_t interval = 250 * MILLISECOND;
    rl_graphs *graphs = rl_graphs_new();
    uint64_t next, before;
    rl_live live;

    rl_live_init(&live);
    check_all(&live, ""); /* no table yet */
    CHECK(write_scheduled(&live) == RL_LIVE_NEVER);
    hold_clock();
    open_live(graphs, 1, "a", interval, &one_recorder);
    open_live(graphs, 2, "b", HOUR, &one_recorder);
    open_live(graphs, 3, "c", RL_LIVE_NEVER, &one_recorder);
    open_live(graphs, 4, "d", 0, &one_recorder);
    open_live(graphs, 5, "e", 1, &another_recorder);
    CHECK(rl_live_watch(&live, graphs, interval));

    next = check_scheduled(&live, ""); /* their first time has not come */
    CHECK(next == rl_monotonic_ns() + RL_LIVE_FIRST_NS);
    let_clock_go();
    wait_until(next);
    for (int i = 0; i < 2; i++) {
        before = rl_monotonic_ns();
        next = check_scheduled(&live,
                               i == 0 ? "a0 b0 " : ""); /* unchanged the second time */
        CHECK(next >= before + interval && next <= rl_monotonic_ns() + interval);
        wait_until(next);
    }
    begin_node(graphs, 11, 1, "n:1", "n");
    check_scheduled(&live, "a1 ");

    check_all(&live, "d0 "); /* also one that is written at events */
    check_all(&live, "");
    for (uint64_t i = 2; i <= 5; i++) {
        begin_node(graphs, 10 + i, i, "n:1", "n");
    }
    check_scheduled(&live, "");
    check_all(&live, "b1 d1 ");
    end_span(graphs, 12, RL_COMPLETED, false);
    rl_graphs_interrupt(graphs, key_of(1), text("[]"));
    rl_graphs_resume(graphs, key_of(4));
    check_all(&live, "b1 a0 d0 "); /* only what is new */
    check_all(&live, "");
    rl_graphs_free(graphs, release_none);
}

/* The many node logs of a fast run wait for the next write. */
static void test_a_first_write_has_few_node_logs(void)
{
    rl_graphs *graphs = rl_graphs_new();
    rl_live live;

    rl_live_init(&live);
    for (uint64_t run = 1; run <= 2; run++) {
        open_live(graphs, run, run == 1 ? "few" : "many", HOUR, &one_recorder);
        for (uint64_t i = 0; i < 7 + run; i++) {
            begin_node(graphs, 100 * run + i, run, i % 2 == 0 ? "n:1" : "n:2", "n");
            end_span(graphs, 100 * run + i, RL_COMPLETED, false);
        }
    }
    (void)rl_live_watch(&live, graphs, HOUR);
    wait_until(rl_monotonic_ns() + RL_LIVE_FIRST_NS);
    CHECK(check_scheduled(&live, "few8 many0 ") > rl_monotonic_ns() + HOUR / 2);
    check_all(&live, "many9 ");
    check_all(&live, "");
    rl_graphs_free(graphs, release_none);
}

static void test_time_of_the_next_write(void)
{
    rl_graphs *graphs = rl_graphs_new();
    rl_live live;

    rl_live_init(&live);
    hold_clock();
    (void)rl_live_watch(&live, graphs, HOUR);
    CHECK(check_scheduled(&live, "") == RL_LIVE_NEVER); /* no graph at all */
    open_live(graphs, 1, "a", RL_LIVE_NEVER, &one_recorder);
    open_live(graphs, 2, "b", 0, &one_recorder);
    open_live(graphs, 3, "c", MILLISECOND, &another_recorder);
    CHECK(check_scheduled(&live, "") == RL_LIVE_NEVER); /* none with an interval */
    open_live(graphs, 4, "d", HOUR, &one_recorder);
    CHECK(check_scheduled(&live, "") <= rl_monotonic_ns() + RL_LIVE_FIRST_NS);
    check_all(&live, "b0 d0 ");
    CHECK(check_scheduled(&live, "") > rl_monotonic_ns() + HOUR / 2);
    open_live(graphs, 5, "e", HOUR / 4, &one_recorder); /* it comes first */
    CHECK(check_scheduled(&live, "") < rl_monotonic_ns() + HOUR / 3);
    drop_graph(graphs, 5);
    CHECK(check_scheduled(&live, "") > rl_monotonic_ns() + HOUR / 2);
    drop_graph(graphs, 4);
    CHECK(check_scheduled(&live, "") == RL_LIVE_NEVER);
    let_clock_go();
    rl_graphs_free(graphs, release_none);
}

/* What a failed commit had is written again, once, with what is new;
 * rl_graphs_write_one likewise writes what is new. */
static void test_failures_and_single_writes(void)
{
    struct committed committed = {.texts = "", .status = RL_STORE};
    rl_graphs *graphs = rl_graphs_new();
    rl_run *run = rl_run_new();
    rl_live live;

    rl_live_init(&live);
    open_live(graphs, 1, "a", HOUR, &one_recorder);
    (void)rl_live_watch(&live, graphs, HOUR);
    rl_live_write_all(&live, &one_recorder, commit, &committed);
    CHECK_STR(committed.texts, "a0 ");
    begin_node(graphs, 2, 1, "n:1", "n");
    rl_live_write_all(&live, &one_recorder, commit, &committed);
    CHECK_STR(committed.texts, "a0 a1 ");
    begin_node(graphs, 3, 1, "n:2", "n");
    end_span(graphs, 2, RL_COMPLETED, false);
    check_all(&live, "a2 ");
    check_all(&live, "");
    CHECK_INT(rl_graphs_write_one(graphs, key_of(1), false, run), RL_CLOSED);
    CHECK_INT(rl_graphs_write_one(graphs, key_of(9), false, run), RL_CLOSED);
    end_span(graphs, 3, RL_COMPLETED, false);
    for (int i = 0; i < 2; i++) {
        CHECK_INT(rl_graphs_write_one(graphs, key_of(1), false, run), RL_OK);
        CHECK_STR(rl_run_text(run, RL_STATUS), "running");
        CHECK(run->duration_ms == RL_NO_DURATION);
        CHECK_INT(nodes_of(run), 1);
        /* one piece at a time */
        CHECK_INT(rl_graphs_write_one(graphs, key_of(1), false, run), RL_BUSY);
        rl_graphs_wrote(graphs, run, i == 1);
    }
    check_all(&live, "");
    rl_run_free(run);
    rl_graphs_free(graphs, release_none);
}

/* Runs that end before their first write wake the worker once in that time. */
static void test_short_runs_wake_the_worker_seldom(void)
{
    const uint64_t interval = 50 * MILLISECOND, first = rl_live_first(interval);
    rl_graphs *graphs = rl_graphs_new();
    uint64_t start, elapsed, runs = 0;
    int wakes = 0;
    rl_live live;

    rl_live_init(&live);
    start = rl_monotonic_ns();
    do {
        open_live(graphs, 1, "a", interval, &one_recorder);
        if (rl_live_watch(&live, graphs, interval)) {
            wakes++;
        }
        drop_graph(graphs, 1);
        (void)write_scheduled(&live); /* the worker's pass */
        runs++;
        elapsed = rl_monotonic_ns() - start;
    } while (elapsed < 5 * interval ||
             ((runs <= 20 || wakes < 2) && elapsed < 60000 * MILLISECOND));
    CHECK(runs > 20);
    CHECK(wakes >= 2 && (uint64_t)wakes <= elapsed / first + 1);

    CHECK(check_scheduled(&live, "") == RL_LIVE_NEVER);
    CHECK(rl_live_watch(&live, graphs, HOUR));
    CHECK(
        rl_live_watch(&live, graphs, MILLISECOND)); /* an earlier write always wakes it */
    CHECK(!rl_live_watch(&live, graphs, HOUR));
    CHECK(!rl_live_watch(&live, graphs, RL_LIVE_NEVER / 2));
    rl_graphs_free(graphs, release_none);
}

static int exit_of(pid_t pid)
{
    int status = -1;

    CHECK(waitpid(pid, &status, 0) == pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* The release of an owner may use the table. */
static void count_release(void *owner)
{
    ++*(int *)owner;
    CHECK(!rl_graphs_is_inherited(rl_graphs_shared()));
    CHECK_INT(kind_of(rl_graphs_shared(), 1), RL_SPAN_NONE);
}

/* In the child: the inherited runs are the parent's, and are neither written nor
 * ended. */
static void be_child(rl_graphs *graphs, const int *owners)
{
    struct committed committed = {.texts = ""};
    rl_run *run = rl_run_new();
    char self[RL_OWNER_TEXT];
    rl_live live;

    alarm(60); /* rather than hang */
    atomic_store(&check_failures, 0);
    rl_live_init(&live);
    CHECK(rl_graphs_is_inherited(graphs));
    (void)rl_live_watch(&live, graphs, MILLISECOND);
    rl_live_write_all(&live, &one_recorder, commit, &committed);
    CHECK(check_scheduled(&live, "") == RL_LIVE_NEVER);
    rl_graphs_discard_inherited(graphs, count_release);
    CHECK(owners[0] == 1 && owners[1] == 1);
    CHECK(!rl_graphs_is_inherited(graphs));
    CHECK_INT(kind_of(graphs, 1), RL_SPAN_NONE);
    CHECK_INT(kind_of(graphs, 2), RL_SPAN_NONE);
    CHECK(rl_graphs_take(graphs, key_of(1)) == NULL);
    check_all(&live, "");

    open_live(graphs, 1, "child's", HOUR, &one_recorder);
    check_all(&live, "child's0 ");
    begin_node(graphs, 2, 1, "n:1", "n");
    CHECK_INT(rl_graphs_write_one(graphs, key_of(1), false, run), RL_OK);
    rl_owner_self(self);
    CHECK_STR(rl_run_text(run, RL_OWNER), self);
    rl_run_free(run);
    drop_graph(graphs, 1);
    _exit(atomic_load(&check_failures) != 0);
}

static void test_child_discards_inherited_runs(void)
{
    rl_graphs *graphs = rl_graphs_shared();
    rl_graph_start given = graph_of(NULL);
    rl_run *run = rl_run_new();
    char self[RL_OWNER_TEXT];
    int owners[2] = {0, 0};
    pid_t pid;

    REQUIRE(graphs != NULL);
    CHECK(rl_graphs_shared() == graphs);
    given.interval_ns = HOUR;
    given.recorder = &one_recorder;
    for (uint64_t i = 0; i < 2; i++) {
        given.owner = &owners[i];
        begin_graph_as(graphs, 1 + 10 * i, &given);
        begin_node(graphs, 2 + 10 * i, 1 + 10 * i, "n:1", "n");
    }
    for (int i = 0; i < 3; i++) {
        fflush(stdout);
        pid = fork();
        REQUIRE(pid >= 0);
        if (pid == 0) {
            be_child(graphs, owners);
        }
        CHECK_INT(exit_of(pid), 0);
    }
    CHECK(!rl_graphs_is_inherited(graphs));
    CHECK_INT(kind_of(graphs, 12), RL_SPAN_NODE);
    rl_owner_self(self);
    finish(graphs, 1, RL_COMPLETED, run);
    CHECK_STR(rl_run_text(run, RL_OWNER), self);
    CHECK_INT(nodes_of(run), 1);
    finish(graphs, 11, RL_COMPLETED, run);
    CHECK_INT(owners[0] + owners[1], 0); /* after a take the caller releases the owner */
    rl_run_free(run);
}

#define THREADS 3

struct threads {
    rl_graphs *graphs;
    rl_live live;
    atomic_bool stop;
    atomic_int recorded, started;
    pthread_t ids[THREADS];
};

struct thread {
    struct threads *all;
    uint64_t first; /* the number of its first span */
};

/* Records runs with nodes, one after another. */
static void *record_until_stopped(void *ctx)
{
    const struct thread *thread = ctx;
    rl_graphs *graphs = thread->all->graphs;
    rl_run *run = rl_run_new();
    char ns[40];

    atomic_fetch_add(&thread->all->started, 1);
    for (uint64_t round = 0; !atomic_load(&thread->all->stop); round++) {
        uint64_t first = thread->first + round * 20;

        open_live(graphs, first, "t", 1, &one_recorder);
        (void)rl_live_watch(&thread->all->live, graphs, 1);
        for (uint64_t i = 1; i < 15; i++) {
            snprintf(ns, sizeof ns, "n:%" PRIu64, i);
            begin_node(graphs, first + i, first, ns, "n");
            if (i % 2 == 0) {
                end_span(graphs, first + i, RL_COMPLETED, false);
            }
        }
        finish(graphs, first, RL_COMPLETED, run);
        CHECK_INT(nodes_of(run), 14);
        atomic_fetch_add(&thread->all->recorded, 1);
    }
    rl_run_free(run);
    return NULL;
}

static void start_threads(struct threads *threads, struct thread *each, rl_graphs *graphs)
{
    memset(threads, 0, sizeof *threads);
    threads->graphs = graphs;
    rl_live_init(&threads->live);
    for (uint64_t i = 0; i < THREADS; i++) {
        each[i] = (struct thread){threads, 1 + (i << 40)};
        help_need(
            pthread_create(&threads->ids[i], NULL, record_until_stopped, &each[i]) == 0,
            "a thread");
    }
    while (atomic_load(&threads->started) < THREADS) {
        sched_yield();
    }
}

static void stop_threads(struct threads *threads)
{
    atomic_store(&threads->stop, true);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads->ids[i], NULL);
    }
}

static rl_status check_whole(void *ctx, rl_run *run, rl_err *err)
{
    (void)err;
    ++*(int *)ctx;
    CHECK(is_json(parts_of(run), strlen(parts_of(run))));
    CHECK(nodes_of(run) <= 14);
    return RL_OK;
}

/* One thread writes the open runs while others record: each row is one consistent
 * state. */
static void test_writes_while_threads_record(void)
{
    static struct threads threads;
    struct thread each[THREADS];
    rl_graphs *graphs = rl_graphs_new();
    int written = 0;

    start_threads(&threads, each, graphs);
    while (written < 200 || atomic_load(&threads.recorded) < 300) {
        (void)rl_live_write_scheduled(&threads.live, &one_recorder, check_whole,
                                      &written);
        rl_live_write_all(&threads.live, &one_recorder, check_whole, &written);
        (void)rl_live_write_scheduled(&threads.live, &another_recorder, commit, NULL);
        sched_yield();
    }
    stop_threads(&threads);
    rl_graphs_free(graphs, release_none);
}

static void release_any(void *owner)
{
    (void)owner;
}

/* Forks while threads use the table. */
static void test_forks_while_threads_record(void)
{
    static struct threads threads;
    struct thread each[THREADS];
    rl_graphs *graphs = rl_graphs_shared();
    pid_t pid;

    start_threads(&threads, each, graphs);
    for (int i = 0; i < 20; i++) {
        fflush(stdout);
        pid = fork();
        help_need(pid >= 0, "fork");
        if (pid == 0) {
            alarm(60);
            atomic_store(&check_failures, 0);
            rl_graphs_discard_inherited(graphs, release_any);
            open_live(graphs, 1, "child's", HOUR, &one_recorder);
            rl_live_init(&threads.live);
            (void)rl_live_watch(&threads.live, graphs, HOUR);
            check_all(&threads.live, "child's0 ");
            drop_graph(graphs, 1);
            _exit(atomic_load(&check_failures) != 0);
        }
        CHECK_INT(exit_of(pid), 0);
    }
    stop_threads(&threads);
    CHECK(!rl_graphs_is_inherited(graphs));
}

#define WHERE_RUNNING "SELECT count(*) FROM workflow_runs WHERE status = 'running'"

#define WHERE_PARTS "SELECT count(*) FROM run_parts WHERE name = "

/* Waits until the worker has brought about the wanted result of a statement. */
static void wait_for(const char *path, const char *sql, int64_t want)
{
    const struct timespec moment = {0, 5000000};
    uint64_t end = rl_monotonic_ns() + UINT64_C(20000000000);

    while (rl_monotonic_ns() < end && sql_int(path, sql) != want) {
        nanosleep(&moment, NULL);
    }
    CHECK_INT(sql_int(path, sql), want);
}

static void end_run(rl_recorder *recorder, rl_graphs *graphs, uint64_t number)
{
    rl_run *run = rl_run_new();
    rl_err err = {.code = RL_OK};

    finish(graphs, number, RL_COMPLETED, run);
    CHECK_INT(rl_run_seal(run, &err), RL_OK);
    CHECK_INT(rl_recorder_write(recorder, run, RL_JOURNAL, &err), RL_OK);
    rl_run_free(run);
}

/* A recorder's worker writes an open run, and again when it has changed. Flush and close
 * write open runs before their interval has passed. A short run is written once. */
static void test_recorder_writes_open_runs(void)
{
    char path[HELP_PATH];
    rl_graphs *graphs = rl_graphs_new();
    rl_recorder *recorder = NULL;
    rl_run *run = new_run("w", "first", "completed");
    rl_err err = {.code = RL_OK};
    int64_t commits;

    fresh_path(path);
    REQUIRE(new_recorder(path, &recorder, &err) == RL_OK);
    CHECK_INT(rl_recorder_write(recorder, run, RL_JOURNAL, &err), RL_OK);
    rl_run_free(run);
    open_live(graphs, 1, "slow", 20 * MILLISECOND, recorder);
    rl_recorder_watch(recorder, graphs, 20 * MILLISECOND);
    wait_for(path, WHERE_RUNNING " AND run_id = 'slow' AND node_logs IS NULL", 1);
    begin_node(graphs, 2, 1, "n:1", "n");
    wait_for(path, WHERE_PARTS "'n0000000000'", 1);
    end_run(recorder, graphs, 1);
    CHECK_INT(sql_int(path, WHERE_RUNNING), 0);

    commits = (int64_t)rl_metric_get(&rl_recorder_metrics(recorder)->commits);
    open_live(graphs, 1, "short", HOUR, recorder);
    rl_recorder_watch(recorder, graphs, HOUR);
    begin_node(graphs, 2, 1, "n:1", "n");
    end_run(recorder, graphs, 1);
    CHECK_INT(rl_metric_get(&rl_recorder_metrics(recorder)->commits), commits + 1);

    open_live(graphs, 1, "open", HOUR, recorder);
    rl_recorder_watch(recorder, graphs, HOUR);
    CHECK_INT(rl_recorder_flush(recorder, rl_monotonic_ns() + HOUR, &err), RL_OK);
    CHECK_INT(sql_int(path, WHERE_RUNNING " AND run_id = 'open'"), 1);
    begin_node(graphs, 2, 1, "n:1", "n");
    rl_recorder_free(recorder);
    CHECK_INT(sql_int(path, WHERE_PARTS "'n0000000000'"), 1);
    rl_graphs_free(graphs, release_none);
    CHECK_INTACT(path);
}

static const struct check_test tests[] = {
    CHECK_TEST(test_changed_runs_are_written_at_intervals),
    CHECK_TEST(test_a_first_write_has_few_node_logs),
    CHECK_TEST(test_time_of_the_next_write),
    CHECK_TEST(test_failures_and_single_writes),
    CHECK_TEST(test_short_runs_wake_the_worker_seldom),
    CHECK_TEST(test_child_discards_inherited_runs),
    CHECK_TEST(test_writes_while_threads_record),
    CHECK_TEST(test_forks_while_threads_record),
    CHECK_TEST(test_recorder_writes_open_runs),
};

CHECK_MAIN(tests)
