/* A replica, and what is known of it and its primary. See pg_replica.h. */
#include "store/postgres/pg_replica.h"

#include "store/postgres/pg_dsn.h"
#include "store/postgres/postgres_sql.h"

#include <string.h>
#include <time.h>

#define CHECK_NS UINT64_C(1000000000)  /* between two looks at the positions */
#define WAIT_NS UINT64_C(100000000)    /* for the replica to replay a write */
#define ANSWER_NS UINT64_C(1000000000) /* for the primary's position */
#define PAUSE_NS UINT64_C(1000000)     /* before the replica is asked again; doubles */
#define PAUSE_MAX_NS UINT64_C(16000000)

bool rl_pg_replica_may_call(rl_breaker *breaker, uint64_t now)
{
    const bool open = rl_breaker_is_open(breaker);
    const bool may = !open || now >= atomic_load(&breaker->retry_at);

    if (open && may) {
        atomic_store(&breaker->retry_at, now + breaker->pause_ns);
    }
    return may;
}

/* What this process has written so far. */
static void count_writes(const rl_pg_replica *replica, uint64_t writes[RL_PG_OWN_KINDS])
{
    const atomic_uint_fast64_t *runs = replica->options.acknowledged_runs;
    rl_pg_server *server = replica->options.primary->conns[0].server;

    writes[RL_PG_OWN_RUNS] =
        atomic_load(&server->run_writes) + (runs != NULL ? atomic_load(runs) : 0);
    writes[RL_PG_OWN_WORK] = writes[RL_PG_OWN_RUNS] + atomic_load(&server->other_writes);
}

static rl_status read_position(rl_pg_conn *conn, void *ctx, rl_err *err)
{
    return rl_pg_position_read(conn, ctx, err);
}

/* The same without waiting for long. */
static rl_status read_briefly(rl_pg_conn *conn, void *ctx, rl_err *err)
{
    const uint64_t timeout_ns = conn->timeout_ns;
    rl_status status;

    conn->timeout_ns = timeout_ns < ANSWER_NS ? timeout_ns : ANSWER_NS;
    status = rl_pg_position_read(conn, ctx, err);
    conn->timeout_ns = timeout_ns;
    return status;
}

/* Asks the primary. It is waited for as by any read if the answer matters, which it does
 * not while it is away. */
static rl_status find_primary(rl_pg_replica *replica, bool matters,
                              rl_pg_position *position)
{
    rl_pg_pool *pool = replica->options.primary;
    const bool away = rl_breaker_is_open(&replica->primary);
    rl_pg_conn *conn = NULL;
    rl_err ignored;
    rl_status status = rl_pg_pool_take(pool, &conn, &ignored);

    matters = matters && !away;
    if (status == RL_OK) {
        conn->connect_ns = matters ? 0 : away ? RL_PG_PROBE_NS : ANSWER_NS;
        status = rl_pg_pool_use(conn, matters ? read_position : read_briefly, position,
                                &ignored);
        conn->connect_ns = 0;
        rl_pg_pool_give_read(pool, conn);
    }
    return status;
}

/* Takes the primary's answer. Lock held. */
static void set_position(rl_pg_replica *replica, const rl_pg_position *position,
                         const uint64_t writes[RL_PG_OWN_KINDS], uint64_t asked_at)
{
    const bool restarted = strcmp(replica->primary_start, position->server_start) != 0;

    memcpy(replica->primary_start, position->server_start, sizeof replica->primary_start);
    if (asked_at > replica->asked_at) { /* not an answer that was overtaken */
        replica->position = position->lsn;
        replica->asked_at = asked_at;
    }
    for (int own = 0; own < RL_PG_OWN_KINDS; own++) {
        if (writes[own] > replica->writes[own]) {
            replica->writes[own] = writes[own];
            replica->needed[own] = position->lsn;
        }
        if (restarted &&
            replica->needed[own] > position->lsn) { /* a failover lost some */
            replica->needed[own] = position->lsn;
        }
    }
}

void rl_pg_replica_ask_primary(rl_pg_replica *replica, rl_pg_own own)
{
    const uint64_t now = rl_monotonic_ns();
    uint64_t writes[RL_PG_OWN_KINDS];
    rl_pg_position position;
    rl_status status;
    bool matters, wanted;

    count_writes(replica, writes);
    pthread_mutex_lock(&replica->lock);
    matters = writes[own] > replica->writes[own];
    wanted = (matters || now - replica->asked_at >= CHECK_NS) &&
             rl_pg_replica_may_call(&replica->primary, now);
    pthread_mutex_unlock(&replica->lock);
    if (!wanted) {
        return;
    }
    status = find_primary(replica, matters, &position);
    pthread_mutex_lock(&replica->lock);
    if (status == RL_OK) {
        rl_breaker_record_success(&replica->primary);
        set_position(replica, &position, writes, now);
    } else {
        rl_breaker_record_failure(&replica->primary, rl_monotonic_ns());
    }
    pthread_mutex_unlock(&replica->lock);
}

/* A server that takes writes is a replica only if it is the primary itself: else it would
 * never learn of later runs. While the primary does not answer, it may be its heir. */
static rl_status check_role(rl_pg_replica *replica, const rl_pg_position *position,
                            rl_err *err)
{
    bool fits, was_checked;

    pthread_mutex_lock(&replica->lock);
    was_checked = replica->was_checked;
    fits = position->recovering || rl_breaker_is_open(&replica->primary) ||
           strcmp(position->server_start, replica->primary_start) == 0;
    pthread_mutex_unlock(&replica->lock);
    if (!fits) {
        rl_err_set(err, was_checked ? RL_STORE : RL_CONFIG,
                   RL_PG_READ_DSN " leads to a server that is no standby: it takes "
                                  "writes, and is not the server of postgres_dsn "
                                  "(POSTGRES_DSN). Name a hot standby of that server");
        err->retryable = was_checked; /* it was promoted */
    }
    return fits ? RL_OK : err->code;
}

/* Checks a new connection. Unless a pooler would give the session to others, nothing can
 * be written over it. */
static rl_status check_new(rl_pg_replica *replica, rl_pg_conn *conn,
                           const rl_pg_position *position, rl_err *err)
{
    rl_status status;
    rl_target target;

    pthread_mutex_lock(&replica->lock);
    target = replica->target;
    pthread_mutex_unlock(&replica->lock);
    status = rl_pg_standby_check(conn, &target, replica->options.migrations, err);
    if (status == RL_OK) {
        status = check_role(replica, position, err);
    }
    if (status == RL_OK && !position->pooled) {
        status = rl_pg_conn_exec(conn, RL_PG_READ_ONLY, 0, NULL, false, NULL, err);
    }
    return status;
}

/* Takes note of how far the replica has got. */
static void note_position(rl_pg_replica *replica, rl_pg_seen *seen,
                          const rl_pg_position *position)
{
    const uint64_t now = rl_monotonic_ns();
    double behind;

    seen->checked_at = now;
    seen->replayed = position->lsn;
    pthread_mutex_lock(&replica->lock);
    replica->was_checked = replica->was_checked || replica->target.place[0] != '\0';
    if (position->lsn >= replica->position && replica->position > 0) {
        seen->caught_up_at = replica->asked_at;
    }
    if (!position->recovering ||
        (seen->caught_up_at > 0 && seen->caught_up_at == replica->asked_at &&
         !rl_breaker_is_open(&replica->primary))) {
        behind = 0;
    } else {
        /* at an idle primary the newest commit is old without any lag */
        behind = position->age;
        if (seen->caught_up_at > 0 &&
            (behind < 0 || behind > (double)(now - seen->caught_up_at) / 1e9)) {
            behind = (double)(now - seen->caught_up_at) / 1e9;
        }
    }
    replica->stats.lag = behind;
    replica->lagging =
        replica->lagging && position->lsn < replica->needed[RL_PG_OWN_WORK];
    pthread_mutex_unlock(&replica->lock);
}

/* Whether a connection was checked, and that against the primary's database. */
static bool is_checked(rl_pg_replica *replica, const rl_pg_conn *conn,
                       const rl_pg_seen *seen)
{
    return seen->connects == conn->connects &&
           seen->targets == atomic_load(&replica->targets);
}

/* Waits until the replica has replayed what is needed. RL_TIMEOUT if it has not. */
static rl_status wait_for_replay(rl_pg_replica *replica, rl_pg_conn *conn,
                                 rl_pg_seen *seen, uint64_t needed, bool briefly,
                                 rl_err *err)
{
    const uint64_t end = rl_monotonic_ns() + (briefly ? 0 : WAIT_NS);
    unsigned targets = seen->targets;
    uint64_t pause_ns = PAUSE_NS;
    rl_pg_position position;
    rl_status status;

    for (;;) {
        struct timespec pause = rl_timespec(pause_ns);

        status = rl_pg_position_read(conn, &position, err);
        if (status == RL_OK && !is_checked(replica, conn, seen)) {
            targets = atomic_load(&replica->targets);
            seen->caught_up_at = 0; /* that may have been another server */
            status = check_new(replica, conn, &position, err);
        } else if (status == RL_OK) {
            status = check_role(replica, &position, err);
        }
        if (status != RL_OK) {
            return status;
        }
        seen->connects = conn->connects;
        seen->targets = targets;
        note_position(replica, seen, &position);
        if (position.lsn >= needed || rl_monotonic_ns() >= end) {
            break;
        }
        nanosleep(&pause, NULL);
        pause_ns = pause_ns < PAUSE_MAX_NS ? pause_ns * 2 : pause_ns;
    }
    return position.lsn >= needed ? RL_OK : RL_TIMEOUT;
}

rl_status rl_pg_replica_check(rl_pg_replica *replica, rl_pg_conn *conn, uint64_t needed,
                              bool briefly, rl_err *err)
{
    rl_pg_seen *seen = &replica->seen[conn - replica->pool.conns];
    rl_status status = RL_OK;

    if (!is_checked(replica, conn, seen) || seen->replayed < needed ||
        rl_monotonic_ns() - seen->checked_at >= CHECK_NS) {
        status = wait_for_replay(replica, conn, seen, needed, briefly, err);
    }
    return status;
}
