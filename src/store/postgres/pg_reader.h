/* Where reads go: to the primary, or with a read DSN to a replica of it.
 *
 * The replica answers, unless it lacks what this process has written (rl_pg_own). Before a read that
 * follows a write the primary is asked how far its WAL goes, and the replica gets
 * WAIT_NS to replay that; else the primary answers. So a write costs nothing, and a
 * process that only reads never waits. Whatever the replica can't answer, the primary is
 * asked once, but for a read that took too long.
 * If the primary does not answer, the replica does, however far it has got. Each of the
 * two that does not answer is left alone for a while (core/breaker.h).
 * Once a second, a read also asks both for their positions: that is how far the replica
 * is behind.
 *
 * Threads: any. Ownership: copies the DSN, borrows the rest.
 */
#ifndef RL_PG_READER_H
#define RL_PG_READER_H

#include "core/breaker.h"
#include "store/migrate.h"
#include "store/postgres/pg_pool.h"
#include "store/postgres/pg_standby.h"
#include "store/store.h"

/* What a read must see of what this process has written. */
typedef enum rl_pg_own {
    RL_PG_OWN_RUNS, /* runs, and deletions */
    RL_PG_OWN_WORK, /* also what its companions have written: indexes, sums, vectors */
    RL_PG_OWN_KINDS
} rl_pg_own;

typedef struct rl_pg_reader_options {
    const char *dsn;       /* of the replica; NULL: there is none */
    unsigned pool;         /* connections to it */
    rl_pg_pool *primary;   /* with its server, whose time-out is the replica's, too */
    const rl_migrations *migrations;               /* that the replica must have */
    const atomic_uint_fast64_t *acknowledged_runs; /* of this process, or NULL */
} rl_pg_reader_options;

/* What a connection to the replica has shown. */
typedef struct rl_pg_seen {
    unsigned connects;                 /* conn.connects when it was checked */
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

typedef struct rl_pg_reader {
    rl_pg_reader_options options;
    char *dsn; /* owned; NULL without a replica */
    rl_pg_server server;
    rl_pg_pool pool;
    rl_pg_seen seen[RL_PG_POOL_MAX]; /* each belongs to who has the connection */
    pthread_mutex_t lock;            /* guards the rest; never held while waiting */
    rl_breaker primary, replica;
    rl_target target;   /* the primary's database, as far as it is known */
    bool was_checked;   /* the replica has once proved to be one */
    bool lagging;       /* it has not replayed a write within WAIT_NS: nobody waits */
    /* of each rl_pg_own: the writes so far, and the LSN that has them all */
    uint64_t writes[RL_PG_OWN_KINDS], needed[RL_PG_OWN_KINDS];
    uint64_t position;  /* LSN of the primary at `asked_at` */
    uint64_t asked_at;  /* monotonic nanoseconds */
    char primary_start[RL_PG_SESSION_TEXT];
    rl_replica_stats stats;
} rl_pg_reader;

rl_status rl_pg_reader_init(rl_pg_reader *reader, const rl_pg_reader_options *options,
                            rl_err *err);
void rl_pg_reader_free(rl_pg_reader *reader); /* not the struct */

/* Runs `work`, which only reads, as rl_pg_pool_run does: here or there, or both.
 * RL_CONFIG: the read DSN leads to a server that is no replica of the primary. */
rl_status rl_pg_reader_run(rl_pg_reader *reader, rl_pg_own own, rl_pg_pool_work work,
                           void *ctx, rl_err *err);

/* Runs one statement that reads as rl_pg_conn_exec does, with binary results. */
rl_status rl_pg_reader_read(rl_pg_reader *reader, rl_pg_own own, const char *sql,
                            int count, const char *const *values, PGresult **result,
                            rl_err *err);

/* The same of runs at the primary, and at the replica only if the primary does not answer. */
rl_status rl_pg_reader_read_primary(rl_pg_reader *reader, const char *sql, int count,
                                    const char *const *values, PGresult **result,
                                    rl_err *err);

/* The primary's database is known now. */
void rl_pg_reader_set_target(rl_pg_reader *reader, const rl_target *target);

/* A call of the primary has failed so. True if reads go on at the replica. */
bool rl_pg_reader_lose_primary(rl_pg_reader *reader, const rl_err *err);

/* Whether there is a replica, and the primary is left alone just now. Does not wait. */
bool rl_pg_reader_avoids_primary(rl_pg_reader *reader);

void rl_pg_reader_get_stats(rl_pg_reader *reader, rl_replica_stats *stats);

/* Around a fork: takes the locks; releases them. The child gives up the connections. */
void rl_pg_reader_before_fork(rl_pg_reader *reader);
void rl_pg_reader_after_fork(rl_pg_reader *reader, bool in_child);

#endif
