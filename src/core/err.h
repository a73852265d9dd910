/* Status codes and the error record that fallible functions fill.
 *
 * A function that can fail returns rl_status (RL_OK is 0) and describes the failure in an
 * rl_err that its caller owns. Nothing here allocates, prints or keeps global state.
 */
#ifndef RL_ERR_H
#define RL_ERR_H

#include <stdbool.h>
#include <stdint.h>

typedef enum rl_status {
    RL_OK = 0,
    RL_NOMEM,   /* no memory; nothing was changed */
    RL_CONFIG,  /* an option can't be used */
    RL_STORE,   /* the database refused or could not be reached */
    RL_BUSY,    /* it would have to wait, and the caller may not */
    RL_CLOSED,  /* the recorder is closed */
    RL_TIMEOUT, /* the time given ran out */
    RL_SERVICE, /* a server that is no store (embeddings, Milvus) refused or was not reached */
    RL_INVALID, /* an argument can't be used: what was passed, not the settings */
} rl_status;

#define RL_ERR_TEXT 768

typedef struct rl_err {
    rl_status code;
    bool retryable; /* the same call may succeed later, unchanged */
    bool unusable;  /* the database will never do: another schema, no database at all */
    bool refused;   /* the server refuses a row for what is in it, and always will */
    bool garbled;   /* its answer can't be right; another one may be */
    uint64_t
        again_ns; /* it asks not to be called for so long (Retry-After); 0: it does not */
    char sqlstate[6]; /* PostgreSQL's code, or an empty string */
    char text[RL_ERR_TEXT];
} rl_err;

/* Fills err (which may be NULL) and returns code, so that it can end a statement:
 * return rl_err_set(err, RL_STORE, "...", ...). The text is cut at a UTF-8 boundary. */
rl_status rl_err_set(rl_err *err, rl_status code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* rl_err_set(err, RL_NOMEM, "out of memory") */
rl_status rl_err_nomem(rl_err *err);

#endif
