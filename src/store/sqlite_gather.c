/* The frames of a commit, written at once. See sqlite_gather.h.
 *
 * Why this is as safe as SQLite's own writes (its wal.c, sqlite3WalFrames):
 * - A commit appends frames one behind the other, each a header and a page, and publishes
 *   them (in the header of the wal-index, which is shared memory) after the last xWrite has
 *   returned. The last frame's header tells that it is the last. So by the return of the
 *   write of that frame's page all is in the file; where that can't be had, it is this
 *   call that fails, before anything is published, and SQLite rolls back.
 * - Only what is known is gathered: frames that follow one another. The first call that is
 *   anything else writes out what there is, and from there on SQLite has the file to itself:
 *   the header of a WAL that begins again and its fsync; pages overwritten in place, and the
 *   checksums made again after that (of which the header of the last frame may be the last
 *   write; a read comes first); what synchronous=FULL does after the last frame, which is
 *   to write it again until a sector is full, and the fsync.
 * - Pages that the cache spills are not gathered. The file is not told of a rollback: they
 *   would stay in the buffer, and be written later over what another connection has
 *   committed there. The commit hook is called when spilling is over and while the lock is
 *   held that lets one connection write. SQLite gives a commit up only before its first
 *   write, after its last, or for a failed one, so nothing is in the buffer when the lock
 *   is gone: a failed write empties it.
 * - A process that dies has published nothing of what is in its buffer. What a write of it
 *   may leave in the file are frames without the last one, or a part of a frame: as before,
 *   who recovers the WAL ignores them.
 * - No commit is under way at a fork: the connection is closed for it, under its lock.
 */
#include "store/sqlite_gather.h"

#include "core/alloc.h"

#include <assert.h>
#include <string.h>

/* Source: "WAL File Format", https://www.sqlite.org/fileformat2.html#walformat */
#define HEADER_SIZE 24
#define MIN_PAGE 512

/* SQLite's unix VFS takes less than 128 KiB a write (seekAndWriteFd). */
#define BUFFER_SIZE (64 * 1024)

static rl_sqlite_gather *gather_of(sqlite3_file *file)
{
    return (rl_sqlite_gather *)(void *)file->pMethods; /* its first member */
}

/* Gives the file its own methods back. */
static void let_go(rl_sqlite_gather *gather)
{
    gather->file->pMethods = gather->real;
    gather->file = NULL;
}

/* Writes what was gathered. After an error it is dropped, and no more is gathered. */
static int write_out(rl_sqlite_gather *gather)
{
    sqlite3_file *file = gather->file;
    int rc = SQLITE_OK;

    if (gather->used > 0) {
        file->pMethods = gather->real;
        rc = gather->real->xWrite(file, gather->data, gather->used, gather->start);
        file->pMethods = &gather->methods;
        gather->start += gather->used;
        gather->used = 0;
    }
    if (rc != SQLITE_OK) {
        let_go(gather);
    }
    return rc;
}

/* The same, and no more is gathered. */
static int finish(rl_sqlite_gather *gather)
{
    int rc = write_out(gather);

    if (rc == SQLITE_OK) {
        let_go(gather);
    }
    return rc;
}

/* Whether the write is the next header or page of the frames. */
static bool is_next(const rl_sqlite_gather *gather, int size, sqlite3_int64 at)
{
    bool first = gather->start < 0;

    if (!first && at != gather->start + gather->used) {
        return false;
    }
    return gather->page_due ? size >= MIN_PAGE && size <= BUFFER_SIZE
                            : size == HEADER_SIZE;
}

/* Whether the header is of a frame that ends a transaction: the database's size in pages
 * is in it then. */
static bool is_last(const unsigned char *header)
{
    return (header[4] | header[5] | header[6] | header[7]) != 0;
}

static int gather_write(sqlite3_file *file, const void *data, int size, sqlite3_int64 at)
{
    rl_sqlite_gather *gather = gather_of(file);
    int rc = SQLITE_OK;

    if (!is_next(gather, size, at)) {
        rc = finish(gather);
        return rc == SQLITE_OK ? file->pMethods->xWrite(file, data, size, at) : rc;
    }
    if (gather->used + size > BUFFER_SIZE) {
        rc = write_out(gather);
    }
    if (rc != SQLITE_OK) {
        return rc;
    }
    if (gather->used == 0) {
        gather->start = at;
    }
    memcpy(gather->data + gather->used, data, (size_t)size);
    gather->used += size;
    if (!gather->page_due) {
        gather->last = is_last(data);
    }
    gather->page_due = !gather->page_due;
    return gather->last && !gather->page_due ? finish(gather) : SQLITE_OK;
}

/* The methods that end it. */
static int gather_read(sqlite3_file *file, void *data, int size, sqlite3_int64 at)
{
    int rc = finish(gather_of(file));

    return rc == SQLITE_OK ? file->pMethods->xRead(file, data, size, at) : rc;
}

static int gather_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    int rc = finish(gather_of(file));

    return rc == SQLITE_OK ? file->pMethods->xTruncate(file, size) : rc;
}

static int gather_sync(sqlite3_file *file, int flags)
{
    int rc = finish(gather_of(file));

    return rc == SQLITE_OK ? file->pMethods->xSync(file, flags) : rc;
}

static int gather_file_size(sqlite3_file *file, sqlite3_int64 *size)
{
    int rc = finish(gather_of(file));

    return rc == SQLITE_OK ? file->pMethods->xFileSize(file, size) : rc;
}

static int gather_control(sqlite3_file *file, int what, void *arg)
{
    int rc = finish(gather_of(file));

    return rc == SQLITE_OK ? file->pMethods->xFileControl(file, what, arg) : rc;
}

static int gather_lock(sqlite3_file *file, int level)
{
    int rc = finish(gather_of(file));

    return rc == SQLITE_OK ? file->pMethods->xLock(file, level) : rc;
}

static int gather_unlock(sqlite3_file *file, int level)
{
    int rc = finish(gather_of(file));

    return rc == SQLITE_OK ? file->pMethods->xUnlock(file, level) : rc;
}

static int gather_check_lock(sqlite3_file *file, int *locked)
{
    int rc = finish(gather_of(file));

    return rc == SQLITE_OK ? file->pMethods->xCheckReservedLock(file, locked) : rc;
}

/* The file is closed whatever happens. */
static int gather_close(sqlite3_file *file)
{
    (void)finish(gather_of(file));
    return file->pMethods->xClose(file);
}

static int gather_sector_size(sqlite3_file *file)
{
    return gather_of(file)->real->xSectorSize(file);
}

static int gather_characteristics(sqlite3_file *file)
{
    return gather_of(file)->real->xDeviceCharacteristics(file);
}

/* Version 1: shared memory and memory-mapped reads are of the database file only. */
static const sqlite3_io_methods methods = {
    .iVersion = 1,
    .xClose = gather_close,
    .xRead = gather_read,
    .xWrite = gather_write,
    .xTruncate = gather_truncate,
    .xSync = gather_sync,
    .xFileSize = gather_file_size,
    .xLock = gather_lock,
    .xUnlock = gather_unlock,
    .xCheckReservedLock = gather_check_lock,
    .xFileControl = gather_control,
    .xSectorSize = gather_sector_size,
    .xDeviceCharacteristics = gather_characteristics,
};

/* The commit hook. Without memory, or without a WAL, the commit is SQLite's alone. */
static int begin(void *ctx)
{
    rl_sqlite_gather *gather = ctx;
    sqlite3_file *file = NULL;

    rl_sqlite_gather_end(gather);
    if (gather->data == NULL) {
        gather->data = rl_malloc(BUFFER_SIZE);
    }
    if (gather->data != NULL &&
        sqlite3_file_control(gather->db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &file) ==
            SQLITE_OK &&
        file != NULL && file->pMethods != NULL) {
        gather->real = file->pMethods;
        gather->file = file;
        gather->used = 0;
        gather->start = -1;
        gather->page_due = gather->last = false;
        file->pMethods = &gather->methods;
    }
    return 0;
}

void rl_sqlite_gather_set(rl_sqlite_gather *gather, sqlite3 *db)
{
    assert(gather->file == NULL);
    gather->methods = methods;
    gather->db = db;
    (void)sqlite3_commit_hook(db, begin, gather);
}

void rl_sqlite_gather_end(rl_sqlite_gather *gather)
{
    if (gather->file != NULL) {
        let_go(gather);
        gather->used = 0;
    }
}

void rl_sqlite_gather_free(rl_sqlite_gather *gather)
{
    rl_free(gather->data);
    memset(gather, 0, sizeof *gather);
}
