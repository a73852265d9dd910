/* The cost of libpq and the server: runlog's insert, and nothing else.
 *
 * Inserts ready-made rows over one connection, with the statement of
 * src/store/postgres/postgres_sql.h, prepared once. "single": one row per transaction.
 * "pipeline": in pipeline mode, BATCH rows between two Syncs, so that each batch is one
 * transaction and one round trip. Prints one line of JSON: the rows, this process's CPU
 * time (getrusage) and the wall time; both also counted from before the connection.
 *
 * A field is text or, for type 'b', in PostgreSQL's binary form, as in
 * src/store/postgres/postgres.c.
 *
 * usage: bare_libpq single DSN ROWS WARM-UP-ROWS SECONDS
 *        bare_libpq pipeline DSN ROWS BATCH SECONDS
 *        bare_libpq --sql
 */
#define _GNU_SOURCE
#include <libpq-fe.h>
#include <stdbool.h>

#include "bare.h"
#include "core/run.h"
#include "store/postgres/postgres_sql.h"

#define NAME "bare"

#define PARAMETERS (RL_COLUMNS + 1) /* the columns, and whether the id is the run's own */

typedef struct row {
    const char *values[PARAMETERS]; /* borrowed */
    int lengths[PARAMETERS];
    int formats[PARAMETERS];
} row;

typedef struct clocks {
    double cpu_start, wall_start; /* before the connection was made */
    double cpu, wall;             /* before the first row that counts */
} clocks;

static int next_row(rows *all, row *one)
{
    field next;

    for (int i = 0; i < PARAMETERS; i++) {
        if (rows_next(all, &next) != 0) {
            return -1;
        }
        if (next.type != 'n' && next.type != 't' && next.type != 'b') {
            return fail("rows", "hold a type that is not for libpq");
        }
        one->values[i] = next.type == 'n' ? NULL : next.value;
        one->lengths[i] = (int)next.length;
        one->formats[i] = next.type == 'b';
    }
    return 0;
}

static int expect(PGconn *pg, PGresult *result, ExecStatusType wanted)
{
    int rc = 0;

    if (PQresultStatus(result) != wanted) {
        rc = fail("libpq", PQerrorMessage(pg));
    }
    PQclear(result);
    return rc;
}

static int insert_single(PGconn *pg, rows *all)
{
    row one;

    if (next_row(all, &one) != 0) {
        return -1;
    }
    return expect(
        pg, PQexecPrepared(pg, NAME, PARAMETERS, one.values, one.lengths, one.formats, 0),
        PGRES_COMMAND_OK);
}

/* Reads one result, and the NULL that ends it. */
static int read_one(PGconn *pg, ExecStatusType wanted)
{
    if (expect(pg, PQgetResult(pg), wanted) != 0) {
        return -1;
    }
    if (wanted == PGRES_PIPELINE_SYNC) { /* no NULL follows */
        return 0;
    }
    return PQgetResult(pg) == NULL ? 0 : fail("libpq", "one result too many");
}

/* Sends up to `batch` rows and a Sync, then reads all results. */
static long insert_batch(PGconn *pg, rows *all, long batch)
{
    row one;
    long sent = 0;

    while (sent < batch && all->at < all->size) {
        if (next_row(all, &one) != 0) {
            return -1;
        }
        if (!PQsendQueryPrepared(pg, NAME, PARAMETERS, one.values, one.lengths,
                                 one.formats, 0)) {
            return fail("send", PQerrorMessage(pg));
        }
        sent++;
    }
    if (!PQpipelineSync(pg)) {
        return fail("sync", PQerrorMessage(pg));
    }
    for (long i = 0; i < sent; i++) {
        if (read_one(pg, PGRES_COMMAND_OK) != 0) {
            return -1;
        }
    }
    return read_one(pg, PGRES_PIPELINE_SYNC) == 0 ? sent : -1;
}

static void start(clocks *times)
{
    times->cpu = cpu_us();
    times->wall = wall_us();
}

static bool goes_on(const rows *all, const clocks *times, double seconds)
{
    return all->at < all->size && wall_us() - times->wall < seconds * 1e6;
}

static long run_single(PGconn *pg, rows *all, clocks *times, long warm_up, double seconds)
{
    long done = 0;

    for (long i = 0; i < warm_up; i++) {
        if (insert_single(pg, all) != 0) {
            return -1;
        }
    }
    start(times);
    for (; goes_on(all, times, seconds); done++) {
        if (insert_single(pg, all) != 0) {
            return -1;
        }
    }
    return done;
}

static long run_pipeline(PGconn *pg, rows *all, clocks *times, long batch, double seconds)
{
    long done = 0;

    if (!PQenterPipelineMode(pg)) {
        return fail("libpq", PQerrorMessage(pg));
    }
    start(times);
    while (goes_on(all, times, seconds)) {
        long sent = insert_batch(pg, all, batch);

        if (sent < 0) {
            return -1;
        }
        done += sent;
    }
    return done;
}

static int measure(rows *all, bool pipeline, const char *dsn, long number, double seconds)
{
    clocks times = {.cpu_start = cpu_us(), .wall_start = wall_us()};
    static const Oid types[PARAMETERS] = {[RL_COLUMNS] = 16}; /* a boolean; 0: inferred */
    PGconn *pg = PQconnectdb(dsn);
    long done = -1;

    if (PQstatus(pg) != CONNECTION_OK) {
        fail("connect", PQerrorMessage(pg));
    } else if (expect(pg, PQprepare(pg, NAME, RL_PG_INSERT, PARAMETERS, types),
                      PGRES_COMMAND_OK) == 0) {
        done = (pipeline ? run_pipeline : run_single)(pg, all, &times, number, seconds);
    }
    if (done >= 0) {
        double cpu = cpu_us(), wall = wall_us();

        printf("{\"rows\": %ld, \"cpu_us\": %.0f, \"wall_us\": %.0f, "
               "\"cpu_with_connect_us\": %.0f, \"wall_with_connect_us\": %.0f, "
               "\"libpq\": %d}\n",
               done, cpu - times.cpu, wall - times.wall, cpu - times.cpu_start,
               wall - times.wall_start, PQlibVersion());
    }
    PQfinish(pg);
    return done >= 0 ? 0 : -1;
}

int main(int argc, char **argv)
{
    rows all = {NULL, 0, 0};
    bool pipeline = argc > 1 && strcmp(argv[1], "pipeline") == 0;
    int rc = -1;

    if (argc == 2 && strcmp(argv[1], "--sql") == 0) {
        puts(RL_PG_INSERT);
        return 0;
    }
    if (argc != 6 || (!pipeline && strcmp(argv[1], "single") != 0)) {
        fputs("usage: bare_libpq single DSN ROWS WARM-UP-ROWS SECONDS |\n"
              "       pipeline DSN ROWS BATCH SECONDS | --sql\n",
              stderr);
        return 2;
    }
    if (rows_read(&all, argv[3]) == 0) {
        rc = measure(&all, pipeline, argv[2], strtol(argv[4], NULL, 10),
                     strtod(argv[5], NULL));
    }
    rows_free(&all);
    return rc == 0 ? 0 : 1;
}
