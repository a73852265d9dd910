/* Shared parts of bare_libpq.c and bare_sqlite.c: a file of ready-made rows, and clocks.
 *
 * One thread. The rows are in memory before a clock starts; the value of a field is valid
 * until rows_free.
 */
#ifndef BARE_H
#define BARE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

/* A file of rows. A field is a type ('n', 'i', 'f', 't', 'b'), a uint32 length, so many
 * bytes and a zero byte. Integers and doubles have eight bytes. All numbers are in the
 * machine's byte order. */
typedef struct rows {
    char *data; /* owned */
    size_t size;
    size_t at;
} rows;

typedef struct field {
    char type;
    uint32_t length;
    const char *value; /* borrowed; followed by a zero byte */
} field;

static inline int fail(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    return -1;
}

static inline void rows_free(rows *all)
{
    free(all->data);
    all->data = NULL;
}

static inline int rows_read(rows *all, const char *path)
{
    int rc = -1;
    long size;
    FILE *file = fopen(path, "rb");

    if (file == NULL) {
        return fail(path, "cannot be opened");
    }
    if (fseek(file, 0, SEEK_END) != 0 || (size = ftell(file)) < 0) {
        goto out;
    }
    rewind(file);
    all->size = (size_t)size;
    all->data = malloc(all->size + 1);
    if (all->data == NULL || fread(all->data, 1, all->size, file) != all->size) {
        goto out;
    }
    rc = 0;
out:
    if (rc != 0) {
        fail(path, "cannot be read");
    }
    fclose(file);
    return rc;
}

static inline int rows_next(rows *all, field *next)
{
    if (all->size - all->at < 1 + sizeof next->length) {
        return fail("rows", "end within a field");
    }
    next->type = all->data[all->at];
    memcpy(&next->length, all->data + all->at + 1, sizeof next->length);
    all->at += 1 + sizeof next->length;
    if (all->size - all->at < (size_t)next->length + 1) {
        return fail("rows", "end within a value");
    }
    next->value = all->data + all->at;
    all->at += (size_t)next->length + 1;
    return 0;
}

static inline double cpu_us(void)
{
    struct rusage used;

    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e6 +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

static inline double wall_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

#endif
