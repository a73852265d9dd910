/* The frames that a commit appends to the WAL, written at once.
 *
 * SQLite writes each frame by two calls, its header (24 bytes) and its page: 38 to 45 % of
 * the CPU time of a commit. Here they are gathered while a commit is under way and go out
 * as one write. Nothing else changes: the file, its locks, the order of what is in it, and
 * other connections, which need not know.
 *
 * How: from SQLite's commit hook until the frame that ends the transaction is written, the
 * methods of the connection's WAL file (sqlite3_file, which any sqlite3_vfs may have opened)
 * are replaced. Outside of commits the file is as SQLite made it.
 *
 * Threads: those of the connection, so one at a time. Ownership: owns its buffer, borrows
 * the connection and its file.
 */
#ifndef RL_SQLITE_GATHER_H
#define RL_SQLITE_GATHER_H

#include <sqlite3.h>
#include <stdbool.h>

typedef struct rl_sqlite_gather {
    sqlite3_io_methods methods;     /* first: the file's, while it gathers */
    const sqlite3_io_methods *real; /* borrowed: the file's own */
    sqlite3_file *file;             /* borrowed; NULL while nothing is gathered */
    sqlite3 *db;                    /* borrowed */
    unsigned char *data;            /* owned; NULL before the first commit */
    int used;                       /* bytes of data */
    sqlite3_int64 start;            /* where in the file they belong */
    bool page_due;                  /* the header of a frame has come, its page is next */
    bool last;                      /* that frame ends the transaction */
} rl_sqlite_gather;

/* Gathers what the commits of the connection write. It must be in WAL mode; its commit hook
 * is taken. Called again where the struct was moved, not during a statement. */
void rl_sqlite_gather_set(rl_sqlite_gather *gather, sqlite3 *db);

/* After each statement that may have committed. */
void rl_sqlite_gather_end(rl_sqlite_gather *gather);

/* When the connection is closed. */
void rl_sqlite_gather_free(rl_sqlite_gather *gather);

#endif
