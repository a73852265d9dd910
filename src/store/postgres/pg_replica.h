/* A replica, and what is known of it and of its primary: for pg_reader.c, which has the
 * rules.
 *
 * Threads: any. Only rl_pg_replica_may_call does not wait for a server.
 */
#ifndef RL_PG_REPLICA_H
#define RL_PG_REPLICA_H

#include "core/breaker.h"
#include "store/migrate.h"
#include "store/postgres/pg_pool.h"
#include "store/postgres/pg_standby.h"
#include "store/store.h"

/* For a connection to a server that was away before. */
#define RL_PG_PROBE_NS UINT64_C(100000000)

/* What a read must see of what this process has written. */
typedef enum rl_pg_own {
    RL_PG_OWN_RUNS, /* runs, and deletions */
    RL_PG_OWN_WORK, /* also what its companions have written: indexes, sums, vectors */
    RL_PG_OWN_KINDS
} rl_pg_own;

typedef struct rl_pg_replica_options {
    const char *dsn;     /* of the replica; NULL: there is none */
    unsigned pool;       /* connections to it */
    rl_pg_pool *primary; /* with its server, whose time-out is the replica's, too */
    const rl_migrations *migrations;               /* that the replica must have */
    const atomic_uint_fast64_t *acknowledged_runs; /* of this process, or NULL */
} rl_pg_replica_options;

/* What a connection to the replica has shown. */
typedef struct rl_pg_seen {
    unsigned connects, targets;        /* conn.connects and `targets` when checked */
    uint64_t checked_at, caught_up_at; /* monotonic nanoseconds */
    uint64_t replayed;                 /* LSN */
} rl_pg_seen;

typedef struct rl_replica_stats {
    bool there; /* there is a read DSN */
    bool away;  /* reads go to the primary for a while, for the reason in `error` */
    double lag; /* seconds that it is behind the primary at most; negative: unknown */
    uint64_t reads, fallbacks; /* answered by the replica; by the primary instead */
    char error[RL_ERR_TEXT];   /* "" unless it is away */
} rl_replica_stats;

typedef struct rl_pg_replica {
    rl_pg_replica_options options;
    char *dsn; /* owned; NULL without a replica */
    rl_pg_server server;
    rl_pg_pool pool;
    rl_pg_seen seen[RL_PG_POOL_MAX]; /* each belongs to who has the connection */
    pthread_mutex_t lock;            /* guards the rest; never held while waiting */
    atomic_uint targets;             /* how often `target` has become another one */
    rl_breaker primary, breaker;     /* of the primary; its own */
    rl_target target;                /* the primary's database, as far as it is known */
    bool was_checked;                /* the replica has once proved to be one */
    bool lagging; /* it has not replayed a write within 0.1 s: nobody waits */
    /* of each rl_pg_own: the writes so far, and the LSN that has them all */
    uint64_t writes[RL_PG_OWN_KINDS], needed[RL_PG_OWN_KINDS];
    uint64_t position; /* LSN of the primary at `asked_at` */
    uint64_t asked_at; /* monotonic nanoseconds */
    char primary_start[RL_PG_SESSION_TEXT];
    rl_replica_stats stats;
} rl_pg_replica;

/* Whether to call a server, as far as its breaker says. Of the threads that come when it
 * is time for a probe, one makes it. The replica's lock is held. */
bool rl_pg_replica_may_call(rl_breaker *breaker, uint64_t now);

/* If something was written that the read must see, or a second has passed: asks the
 * primary how far its WAL goes. */
void rl_pg_replica_ask_primary(rl_pg_replica *replica, rl_pg_own own);

/* Before a read on an open connection of the replica's pool: checks a new one, and that
 * the replica has replayed the LSN `needed`; unless `briefly`, waits a moment for that.
 * RL_TIMEOUT if it has not. RL_CONFIG: it is no replica of the primary. RL_STORE also if
 * it is one no more, or lacks tables. */
rl_status rl_pg_replica_check(rl_pg_replica *replica, rl_pg_conn *conn, uint64_t needed,
                              bool briefly, rl_err *err);

#endif
