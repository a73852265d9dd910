/* The roll-up's tables on PostgreSQL. See pg_book.h. */
#include "rollup/pg_book.h"

#include "core/clock.h"
#include "rollup/pg_array.h"
#include "rollup/pg_rollup_sql.h"

#include <stdio.h>

#define NUMBER_TEXT 24 /* bytes of an int64 as text, with the NUL */
#define RETAIN ((size_t)1 << 20)
/* A page of runs: at first, at most, and the bytes after which pages get smaller. */
#define PAGE_FIRST 16
#define PAGE_MAX 256
#define PAGE_BYTES ((size_t)2 << 20)

/* The parameters of a statement. */
typedef struct parameters {
    const char *values[8];
    int count;
    char from[RL_TIME_TEXT], until[RL_TIME_TEXT];
    char numbers[3][NUMBER_TEXT];
    int number_count;
} parameters;

/* A workflow and a range of time; texts of the pool have their NUL. */
static void begin(parameters *given, rl_string wpk_id, int64_t from, int64_t until)
{
    given->number_count = 0;
    given->count = 3;
    given->values[0] = wpk_id.text;
    rl_time_format(from, given->from);
    rl_time_format(until, given->until);
    given->values[1] = given->from;
    given->values[2] = given->until;
}

static void add_number(parameters *given, int64_t number)
{
    char *text = given->numbers[given->number_count++];

    snprintf(text, NUMBER_TEXT, "%lld", (long long)number);
    given->values[given->count++] = text;
}

/* Bytes, as text; NULL for none. */
static void add_bytes(parameters *given, rl_buf *buf, rl_bytes bytes)
{
    rl_buf_reset(buf, RETAIN);
    rl_buf_add(buf, "\\x", 2);
    rl_pg_hex(buf, bytes.data, bytes.len);
    rl_buf_add(buf, "", 1);
    given->values[given->count++] = bytes.data != NULL ? buf->data : NULL;
}

static bool have_failed(const rl_buf *arrays, int count)
{
    bool failed = false;

    for (int i = 0; i < count; i++) {
        failed |= arrays[i].failed;
    }
    return failed;
}

static rl_status run(rl_book *book, const char *sql, const parameters *given,
                     PGresult **rows, rl_err *err)
{
    rl_pg_book *self = (rl_pg_book *)book;

    return self->gone.failed ? rl_err_nomem(err)
                             : rl_pg_conn_exec(self->conn, sql, given->count,
                                               given->values, rows != NULL, rows, err);
}

static rl_string keep(const PGresult *rows, int row, int column, rl_pool *pool,
                      bool *failed)
{
    const rl_string text = rl_pg_book_text(rows, row, column);
    const rl_string kept = rl_pool_keep(pool, text.text, text.len);

    *failed |= text.text != NULL && kept.text == NULL;
    return kept;
}

static rl_bytes keep_bytes(const PGresult *rows, int row, int column, rl_pool *pool,
                           bool *failed)
{
    const rl_string kept = keep(rows, row, column, pool, failed);

    return (rl_bytes){kept.text, kept.len};
}

static rl_status first_mark(rl_book *book, rl_string from_wpk, int64_t from,
                            rl_pool *pool, rl_string *wpk_id, int64_t *at, rl_err *err)
{
    PGresult *rows = NULL;
    bool failed = false;
    parameters given;
    rl_status status;

    begin(&given, from_wpk, from == INT64_MIN ? 0 : from, 0);
    given.count = 2;
    given.values[1] = from == INT64_MIN ? NULL : given.from;
    status = run(book, RL_PG_ROLLUP_FIRST_MARK, &given, &rows, err);
    *wpk_id = (rl_string){NULL, 0};
    if (status == RL_OK && PQntuples(rows) > 0) {
        *wpk_id = keep(rows, 0, 0, pool, &failed);
        *at = rl_pg_book_time(rows, 0, 1);
    }
    PQclear(rows);
    return failed ? rl_err_nomem(err) : status;
}

static rl_status read_marks(rl_book *book, rl_string wpk_id, int64_t from, int64_t until,
                            rl_pool *pool, rl_marks *marks, rl_err *err)
{
    PGresult *rows = NULL;
    bool failed = false;
    parameters given;
    rl_status status;

    begin(&given, wpk_id, from, until);
    status = run(book, RL_PG_ROLLUP_MARKS, &given, &rows, err);
    for (int row = 0; status == RL_OK && row < PQntuples(rows) && !failed; row++) {
        rl_mark mark = {.id = rl_pg_book_number(rows, row, 0),
                        .from = rl_pg_book_time(rows, row, 1),
                        .to = rl_pg_book_time(rows, row, 2),
                        .runs = (uint64_t)rl_pg_book_number(rows, row, 3),
                        .deleted = (uint64_t)rl_pg_book_number(rows, row, 4)};

        mark.gone = keep_bytes(rows, row, 5, pool, &failed);
        mark.to = mark.to < until ? mark.to : until - 1;
        mark.to = mark.to > mark.from ? mark.to : mark.from;
        failed |= !rl_marks_add(marks, pool, &mark);
    }
    PQclear(rows);
    return failed ? rl_err_nomem(err) : status;
}

static rl_status read_pieces(rl_book *book, rl_level level, rl_string wpk_id,
                             int64_t from, int64_t until, rl_pool *pool,
                             rl_pieces *pieces, rl_err *err)
{
    PGresult *rows = NULL;
    bool failed = false;
    parameters given;
    rl_status status;

    begin(&given, wpk_id, from, until);
    add_number(&given, (int64_t)level);
    status = run(book, RL_PG_ROLLUP_PIECES, &given, &rows, err);
    for (int row = 0; status == RL_OK && row < PQntuples(rows) && !failed; row++) {
        rl_piece piece = {.from = rl_pg_book_time(rows, row, 0),
                          .until = rl_pg_book_time(rows, row, 1),
                          .runs = (uint64_t)rl_pg_book_number(rows, row, 2)};

        piece.data = keep_bytes(rows, row, 3, pool, &failed);
        piece.gone = keep_bytes(rows, row, 4, pool, &failed);
        failed |= !rl_pieces_add(pieces, pool, &piece);
    }
    PQclear(rows);
    return failed ? rl_err_nomem(err) : status;
}

static rl_status read_names(rl_book *book, rl_string wpk_id, rl_pool *pool,
                            rl_names *names, rl_err *err)
{
    PGresult *rows = NULL;
    bool failed = false;
    parameters given;
    rl_status status;

    begin(&given, wpk_id, 0, 0);
    given.count = 1;
    status = run(book, RL_PG_ROLLUP_NAMES, &given, &rows, err);
    for (int row = 0; status == RL_OK && row < PQntuples(rows) && !failed; row++) {
        const rl_string name = keep(rows, row, 0, pool, &failed);

        failed |= name.text == NULL || !rl_names_add(names, pool, name);
    }
    PQclear(rows);
    return failed ? rl_err_nomem(err) : status;
}

/* The bytes of a page. */
static size_t size_of(const PGresult *rows)
{
    size_t bytes = 0;

    for (int row = 0; row < PQntuples(rows); row++) {
        bytes += (size_t)PQgetlength(rows, row, 5) + (size_t)PQgetlength(rows, row, 6);
    }
    return bytes;
}

static rl_status read_runs(rl_book *book, rl_string wpk_id, int64_t from, int64_t until,
                           rl_book_visit visit, void *ctx, rl_err *err)
{
    char id[64] = RL_PG_ROLLUP_BEFORE_ALL;
    int page = PAGE_FIRST;
    rl_status status = RL_OK;
    bool more = true;

    while (status == RL_OK && more) {
        PGresult *rows = NULL;
        parameters given;
        int count;

        begin(&given, wpk_id, from, until);
        given.values[given.count++] = id;
        add_number(&given, page);
        status = run(book, RL_PG_ROLLUP_RUNS, &given, &rows, err);
        count = status == RL_OK ? PQntuples(rows) : 0;
        more = count == page;
        for (int row = 0; row < count; row++) {
            rl_fold_run one;

            rl_pg_book_run(rows, row, &one);
            if (!visit(ctx, &one)) {
                more = false;
                break;
            }
        }
        if (more) {
            from = rl_pg_book_time(rows, count - 1, 0);
            snprintf(id, sizeof id, "%s", PQgetvalue(rows, count - 1, 8));
            page = size_of(rows) > PAGE_BYTES ? 1 : page < PAGE_MAX ? 2 * page : page;
        }
        PQclear(rows);
    }
    return status;
}

static rl_status drop_leaves(rl_book *book, rl_string wpk_id, int64_t from, int64_t until,
                             rl_err *err)
{
    rl_buf *leaves = ((rl_pg_book *)book)->leaves;

    rl_pg_array_text(&leaves[0], wpk_id.text, wpk_id.len);
    rl_pg_array_time(&leaves[1], from);
    rl_pg_array_time(&leaves[2], until);
    return have_failed(leaves, RL_PG_BOOK_LEAF_COLUMNS) ? rl_err_nomem(err) : RL_OK;
}

static rl_status put_piece(rl_book *book, rl_level level, rl_string wpk_id,
                           const rl_piece *piece, rl_err *err)
{
    rl_buf *pieces = ((rl_pg_book *)book)->pieces;

    rl_pg_array_text(&pieces[0], wpk_id.text, wpk_id.len);
    rl_pg_array_time(&pieces[1], piece->from);
    rl_pg_array_time(&pieces[2], piece->until);
    rl_pg_array_number(&pieces[3], (int64_t)level);
    rl_pg_array_number(&pieces[4], (int64_t)piece->runs);
    rl_pg_array_bytes(&pieces[5], piece->data.data, piece->data.len);
    rl_pg_array_bytes(&pieces[6], piece->gone.data, piece->gone.len);
    return have_failed(pieces, RL_PG_BOOK_PIECE_COLUMNS) ? rl_err_nomem(err) : RL_OK;
}

static rl_status drop_mark(rl_book *book, int64_t id, rl_err *err)
{
    rl_pg_book *self = (rl_pg_book *)book;

    rl_pg_array_number(&self->marks, id);
    return self->marks.failed ? rl_err_nomem(err) : RL_OK;
}

static rl_status add_mark(rl_book *book, rl_string wpk_id, const rl_mark *mark,
                          rl_err *err)
{
    parameters given;

    begin(&given, wpk_id, mark->from, mark->to);
    add_number(&given, (int64_t)mark->runs);
    add_number(&given, (int64_t)mark->deleted);
    add_bytes(&given, &((rl_pg_book *)book)->gone, mark->gone);
    return run(book, RL_PG_ROLLUP_ADD_MARK, &given, NULL, err);
}

static rl_status add_workflow(rl_book *book, rl_string wpk_id, rl_err *err)
{
    parameters given;

    begin(&given, wpk_id, 0, 0);
    given.count = 1;
    return run(book, RL_PG_ROLLUP_ADD_WORKFLOW, &given, NULL, err);
}

static rl_status add_name(rl_book *book, rl_string wpk_id, unsigned number,
                          rl_string node, rl_err *err)
{
    parameters given;

    begin(&given, wpk_id, 0, 0);
    given.count = 1;
    add_number(&given, (int64_t)number);
    given.values[given.count++] = node.text;
    return run(book, RL_PG_ROLLUP_ADD_NAME, &given, NULL, err);
}

void rl_pg_book_init(rl_pg_book *book)
{
    static const rl_book_ops ops = {
        .first_mark = first_mark,
        .marks = read_marks,
        .pieces = read_pieces,
        .names = read_names,
        .runs = read_runs,
        .drop_leaves = drop_leaves,
        .put_piece = put_piece,
        .drop_mark = drop_mark,
        .add_mark = add_mark,
        .add_workflow = add_workflow,
        .add_name = add_name,
    };

    *book = (rl_pg_book){.base = {&ops}};
    rl_buf_init(&book->gone, RL_BUF_MAX);
    rl_buf_init(&book->marks, RL_BUF_MAX);
    for (int i = 0; i < RL_PG_BOOK_LEAF_COLUMNS; i++) {
        rl_buf_init(&book->leaves[i], RL_BUF_MAX);
    }
    for (int i = 0; i < RL_PG_BOOK_PIECE_COLUMNS; i++) {
        rl_buf_init(&book->pieces[i], RL_BUF_MAX);
    }
}

void rl_pg_book_free(rl_pg_book *book)
{
    rl_buf_free(&book->gone);
    rl_buf_free(&book->marks);
    for (int i = 0; i < RL_PG_BOOK_LEAF_COLUMNS; i++) {
        rl_buf_free(&book->leaves[i]);
    }
    for (int i = 0; i < RL_PG_BOOK_PIECE_COLUMNS; i++) {
        rl_buf_free(&book->pieces[i]);
    }
}

void rl_pg_book_begin(rl_pg_book *book, rl_pg_conn *conn)
{
    book->conn = conn;
    rl_buf_reset(&book->marks, RETAIN);
    for (int i = 0; i < RL_PG_BOOK_LEAF_COLUMNS; i++) {
        rl_buf_reset(&book->leaves[i], RETAIN);
    }
    for (int i = 0; i < RL_PG_BOOK_PIECE_COLUMNS; i++) {
        rl_buf_reset(&book->pieces[i], RETAIN);
    }
}

/* Runs a statement with arrays, if they have elements. */
static rl_status write_arrays(rl_pg_book *book, const char *sql, rl_buf *arrays,
                              int count, rl_err *err)
{
    const char *values[RL_PG_BOOK_PIECE_COLUMNS];

    if (arrays[0].len == 0) {
        return RL_OK;
    }
    for (int i = 0; i < count; i++) {
        rl_buf_add(&arrays[i], "}", 2);
        values[i] = arrays[i].data;
    }
    return have_failed(arrays, count)
               ? rl_err_nomem(err)
               : rl_pg_conn_exec(book->conn, sql, count, values, false, NULL, err);
}

rl_status rl_pg_book_end(rl_pg_book *book, rl_err *err)
{
    rl_status status = write_arrays(book, RL_PG_ROLLUP_DROP_LEAVES, book->leaves,
                                    RL_PG_BOOK_LEAF_COLUMNS, err);

    if (status == RL_OK) {
        status = write_arrays(book, RL_PG_ROLLUP_PUT, book->pieces,
                              RL_PG_BOOK_PIECE_COLUMNS, err);
    }
    return status == RL_OK
               ? write_arrays(book, RL_PG_ROLLUP_DROP_MARKS, &book->marks, 1, err)
               : status;
}
