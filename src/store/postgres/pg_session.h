/* Sessions that were lost in the middle of a batch, and their end.
 *
 * Where a firewall swallows a connection the server does not hear that it is gone. A
 * session that has had a half of a pipeline waits for the rest, and keeps the locks of
 * the rows that it was given: whoever brings the same runs over another connection waits
 * for it, until TCP gives up after hours. So its number is kept, and the next connection
 * to the same server ends it (pg_terminate_backend, which a role may use on its own
 * sessions).
 *
 * Numbers are used again. So it is only ended if it was there when we were connected to
 * it, by the server's clock, and if the server was not restarted since, nor is it another
 * one. Threads: any; the lock is not held while the server is asked.
 */
#ifndef RL_PG_SESSION_H
#define RL_PG_SESSION_H

#include <libpq-fe.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#define RL_PG_SESSION_TEXT 40 /* bytes, with the NUL */
#define RL_PG_SESSIONS 16     /* that are remembered; the oldest are forgotten */

/* A session, as RL_PG_BACKEND tells of it; "" where it is not known. */
typedef struct rl_pg_session {
    char pid[RL_PG_SESSION_TEXT];
    char seen_at[RL_PG_SESSION_TEXT];      /* a moment at which it was ours */
    char server_start[RL_PG_SESSION_TEXT]; /* when the server was started */
} rl_pg_session;

typedef struct rl_pg_sessions {
    pthread_mutex_t lock;
    rl_pg_session list[RL_PG_SESSIONS];
    size_t count;
} rl_pg_sessions;

void rl_pg_sessions_init(rl_pg_sessions *sessions); /* also in the child of a fork */
void rl_pg_sessions_destroy(rl_pg_sessions *sessions);

/* Reads the answer to RL_PG_BACKEND. */
void rl_pg_session_read(rl_pg_session *session, const PGresult *result);

/* Remembers a session that was lost, and forgets it in `session`. */
void rl_pg_sessions_add(rl_pg_sessions *sessions, rl_pg_session *session);

/* Takes one out, to be ended; false when there is none. */
bool rl_pg_sessions_take(rl_pg_sessions *sessions, rl_pg_session *session);

#endif
