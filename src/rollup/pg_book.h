/* The roll-up's tables on PostgreSQL, for who counts. See book.h.
 *
 * Threads: one at a time. Ownership: a book borrows its connection, and owns its memory.
 */
#ifndef RL_PG_BOOK_H
#define RL_PG_BOOK_H

#include "core/buf.h"
#include "rollup/book.h"
#include "store/postgres/pg_conn.h"

typedef struct rl_pg_book {
    rl_book base;
    rl_pg_conn *conn;  /* in the transaction under way */
    rl_buf dropped;    /* ids of marks, as an array literal without its end */
    rl_buf data, gone; /* bytes as texts */
} rl_pg_book;

void rl_pg_book_init(rl_pg_book *book);
void rl_pg_book_free(rl_pg_book *book);

/* Begins with a connection. */
void rl_pg_book_begin(rl_pg_book *book, rl_pg_conn *conn);

/* Deletes the marks that were dropped. */
rl_status rl_pg_book_end(rl_pg_book *book, rl_err *err);

/* Values of a binary result. */
int64_t rl_pg_book_number(const PGresult *rows, int row, int column);
int64_t rl_pg_book_time(const PGresult *rows, int row, int column);
rl_string rl_pg_book_text(const PGresult *rows, int row, int column); /* borrowed */

/* A run of the columns RL_PG_ROLLUP_COLUMNS. */
void rl_pg_book_run(const PGresult *rows, int row, rl_fold_run *run);

#endif
