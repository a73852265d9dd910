/* The roll-up's tables on SQLite, for who counts. See book.h.
 *
 * Threads: one at a time. Ownership: a book borrows its connection.
 */
#ifndef RL_SQLITE_BOOK_H
#define RL_SQLITE_BOOK_H

#include "rollup/book.h"
#include "store/sqlite/sqlite_conn.h"

typedef struct rl_sqlite_book {
    rl_book base;
    rl_sqlite_conn *conn; /* of the transaction under way */
} rl_sqlite_book;

void rl_sqlite_book_init(rl_sqlite_book *book);

/* A text of a column, borrowed until the next step; {NULL, 0} for NULL. *failed is set
 * without memory. */
rl_string rl_sqlite_book_text(sqlite3_stmt *stmt, int column, bool *failed);

/* A time of a column. False for what runlog has not written, and for RL_TIME_MAX: no span
 * of time holds it, as none ends behind it. */
bool rl_sqlite_book_time(sqlite3_stmt *stmt, int column, int64_t *at);

/* Bind a text or a time. *failed is set without memory: SQLite would take the parameter for
 * NULL, and find nothing. A parameter that the statement lacks is left out. */
void rl_sqlite_book_bind_text(sqlite3_stmt *stmt, int at, rl_string text, bool *failed);
void rl_sqlite_book_bind_time(sqlite3_stmt *stmt, int at, int64_t time, bool *failed);

/* A run of the columns of RL_SQLITE_ROLLUP_RUNS. False if its created_at is no time. */
bool rl_sqlite_book_run(sqlite3_stmt *stmt, rl_fold_run *run, bool *failed);

#endif
