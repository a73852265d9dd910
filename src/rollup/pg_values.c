/* Values of a binary result. See pg_values.h. */
#include "rollup/pg_values.h"

#include "store/postgres/pg_conn.h"

#include <stdlib.h>

int64_t rl_pg_book_number(const PGresult *rows, int row, int column)
{
    const unsigned char *bytes = (const unsigned char *)PQgetvalue(rows, row, column);
    const int len = PQgetlength(rows, row, column);
    uint64_t number = 0;

    for (int i = 0; i < len && i < 8; i++) {
        number = number << 8 | bytes[i];
    }
    return (int64_t)number;
}

int64_t rl_pg_book_time(const PGresult *rows, int row, int column)
{
    return rl_pg_book_number(rows, row, column) + RL_PG_EPOCH;
}

rl_string rl_pg_book_text(const PGresult *rows, int row, int column)
{
    const bool null = PQgetisnull(rows, row, column);

    return null ? (rl_string){NULL, 0}
                : (rl_string){PQgetvalue(rows, row, column),
                              (size_t)PQgetlength(rows, row, column)};
}

void rl_pg_book_run(const PGresult *rows, int row, rl_fold_run *run)
{
    run->created_at = rl_pg_book_time(rows, row, 0);
    run->run_id = rl_pg_book_text(rows, row, 1);
    run->status = rl_pg_book_text(rows, row, 2);
    run->error_type = rl_pg_book_text(rows, row, 3);
    run->error_text = rl_pg_book_text(rows, row, 4);
    run->metadata = rl_pg_book_text(rows, row, 5);
    run->node_logs = rl_pg_book_text(rows, row, 6);
    run->duration_ms =
        PQgetisnull(rows, row, 7) ? -1 : strtoll(PQgetvalue(rows, row, 7), NULL, 10);
}
