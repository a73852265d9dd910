/* The roll-up's tables on PostgreSQL, for who counts. See book.h.
 *
 * Threads: one at a time. Ownership: a book borrows its connection, and owns its memory.
 */
#ifndef RL_PG_BOOK_H
#define RL_PG_BOOK_H

#include "core/buf.h"
#include "rollup/book.h"
#include "rollup/pg_values.h"
#include "store/postgres/pg_conn.h"

#define RL_PG_BOOK_LEAF_COLUMNS 3
#define RL_PG_BOOK_PIECE_COLUMNS 7

typedef struct rl_pg_book {
    rl_book base;
    rl_pg_conn *conn; /* in the transaction under way */
    rl_buf gone;      /* bytes as text */
    /* what rl_pg_book_end writes, as array literals without their ends */
    rl_buf marks;                           /* ids of those that are dropped */
    rl_buf leaves[RL_PG_BOOK_LEAF_COLUMNS]; /* that are dropped */
    rl_buf pieces[RL_PG_BOOK_PIECE_COLUMNS];
} rl_pg_book;

void rl_pg_book_init(rl_pg_book *book);
void rl_pg_book_free(rl_pg_book *book);

/* Begins with a connection. */
void rl_pg_book_begin(rl_pg_book *book, rl_pg_conn *conn);

/* Writes what was dropped and put: a statement for each kind, as a round trip for each
 * block would take longer than its runs. */
rl_status rl_pg_book_end(rl_pg_book *book, rl_err *err);

#endif
