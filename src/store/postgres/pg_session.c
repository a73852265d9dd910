/* Server sessions that were lost during a batch. See pg_session.h. */
#include "store/postgres/pg_session.h"

#include <stdio.h>
#include <string.h>

void rl_pg_sessions_init(rl_pg_sessions *sessions)
{
    memset(sessions, 0, sizeof *sessions);
    pthread_mutex_init(&sessions->lock, NULL);
}

void rl_pg_sessions_destroy(rl_pg_sessions *sessions)
{
    pthread_mutex_destroy(&sessions->lock);
}

static void copy_value(char out[RL_PG_SESSION_TEXT], const PGresult *result, int column)
{
    snprintf(out, RL_PG_SESSION_TEXT, "%s", PQgetvalue(result, 0, column));
}

void rl_pg_session_read(rl_pg_session *session, const PGresult *result)
{
    memset(session, 0, sizeof *session);
    if (PQntuples(result) == 1 && PQnfields(result) >= 3) {
        copy_value(session->pid, result, 0);
        copy_value(session->seen_at, result, 1);
        copy_value(session->server_start, result, 2);
    }
}

void rl_pg_sessions_add(rl_pg_sessions *sessions, rl_pg_session *session)
{
    if (session->pid[0] == '\0') {
        return;
    }
    pthread_mutex_lock(&sessions->lock);
    if (sessions->count == RL_PG_SESSIONS) {
        sessions->count--;
        memmove(sessions->list, sessions->list + 1,
                sessions->count * sizeof *sessions->list);
    }
    sessions->list[sessions->count++] = *session;
    pthread_mutex_unlock(&sessions->lock);
    memset(session, 0, sizeof *session);
}

bool rl_pg_sessions_take(rl_pg_sessions *sessions, rl_pg_session *session)
{
    bool found;

    pthread_mutex_lock(&sessions->lock);
    found = sessions->count > 0;
    if (found) {
        *session = sessions->list[--sessions->count];
    }
    pthread_mutex_unlock(&sessions->lock);
    return found;
}
