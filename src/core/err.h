/* Status codes, and the error record that functions fill when they fail.
 *
 * A function that can fail returns rl_status (RL_OK is 0) and describes the failure in an
 * rl_err that its caller owns. Nothing here allocates, prints or has global state.
 */
#ifndef RL_ERR_H
#define RL_ERR_H

#include <stdbool.h>
#include <stdint.h>

typedef enum rl_status {
    RL_OK = 0,
    RL_NOMEM,   /* out of memory; nothing was changed */
    RL_CONFIG,  /* an option has a wrong value */
    RL_STORE,   /* the database reported an error, or was not reached */
    RL_BUSY,    /* the call would have to wait, and its caller may not */
    RL_CLOSED,  /* the recorder is closed */
    RL_TIMEOUT, /* the time limit has passed */
    RL_SERVICE, /* the embeddings server or Milvus failed, or was not reached */
    RL_INVALID, /* an argument of the call has a wrong value */
} rl_status;

#define RL_ERR_TEXT 768

typedef struct rl_err {
    rl_status code;
    bool retryable; /* the same call may succeed later */
    bool unusable;  /* the database can't be used: another schema, or not a database */
    bool rejected;  /* the server rejects the row or text itself, so a retry is useless */
    bool partial;   /* retryable, but the tables lie on several servers: the others may be
                       well, and take the rows of other workflows */
    bool timed_out; /* retryable: it took longer than we, or the server, allow */
    bool missing;   /* a table of runlog's, or the schema for them, is not there */
    bool locked;    /* RL_BUSY: another connection holds the lock of the SQLite file */
    bool moved;     /* RL_BUSY: the SQLite file was deleted or replaced meanwhile */
    bool garbled;   /* the server's answer is malformed; the next one may not be */
    uint64_t retry_after_ns; /* the server's Retry-After; 0 without */
    char sqlstate[6];        /* PostgreSQL's code, or "" */
    char text[RL_ERR_TEXT];
} rl_err;

/* Fills err (which may be NULL), with all flags clear, and returns `code`: return
 * rl_err_set(err, RL_STORE, "...", ...). A long text is cut between two characters. */
rl_status rl_err_set(rl_err *err, rl_status code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* rl_err_set(err, RL_NOMEM, "out of memory") */
rl_status rl_err_nomem(rl_err *err);

#endif
