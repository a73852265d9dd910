/* Server sessions that were lost during a batch, and have to be terminated.
 *
 * When a firewall drops the packets of a connection, the server does not notice. A
 * session that has received half of a pipeline waits for the rest, and holds the locks of
 * the rows it has written. A later write of the same runs over another connection waits
 * for these locks, until TCP gives up after hours. So the writer records the session's
 * process id, and whoever writes to the same server next first calls
 * pg_terminate_backend, which every role may use on its own sessions.
 *
 * Servers reuse process ids. So the writer terminates a session only if its backend had
 * started, by the server's clock, when the writer was connected to it, and if the
 * server's start time is the same: it has not restarted, and is not another server.
 * Threads: any; no function waits for the server.
 */
#ifndef RL_PG_SESSION_H
#define RL_PG_SESSION_H

#include <libpq-fe.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#define RL_PG_SESSION_TEXT 40 /* bytes, with the NUL */
#define RL_PG_SESSIONS 16     /* that a list holds; a new one replaces the oldest */

/* A session, as RL_PG_BACKEND describes it; "" if unknown. */
typedef struct rl_pg_session {
    char pid[RL_PG_SESSION_TEXT];
    char seen_at[RL_PG_SESSION_TEXT]; /* when the writer was connected to it; seconds */
    char server_start[RL_PG_SESSION_TEXT]; /* when the server started; seconds */
} rl_pg_session;

typedef struct rl_pg_sessions {
    pthread_mutex_t lock;
    rl_pg_session list[RL_PG_SESSIONS];
    size_t count;
} rl_pg_sessions;

void rl_pg_sessions_init(rl_pg_sessions *sessions); /* also in the child of a fork */
void rl_pg_sessions_destroy(rl_pg_sessions *sessions);

/* Fills a session from the result of RL_PG_BACKEND. */
void rl_pg_session_read(rl_pg_session *session, const PGresult *result);

/* Adds a lost session, unless it is unknown, and clears `session`. */
void rl_pg_sessions_add(rl_pg_sessions *sessions, rl_pg_session *session);

/* Removes a session from the list, to be terminated; false if the list is empty. */
bool rl_pg_sessions_take(rl_pg_sessions *sessions, rl_pg_session *session);

#endif
