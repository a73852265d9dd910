/* A hash table of records that grows one bucket at a time (linear hashing: W. Litwin,
 * "Linear Hashing: A New Tool for File and Table Addressing", 1980), so that no single
 * addition takes long, however large the table is.
 *
 * A record has an rl_link as its first member; the caller compares keys.
 * Ownership: the table owns its buckets, the caller the records. A table of zeros is
 * empty. Not thread-safe.
 */
#ifndef RL_TABLE_H
#define RL_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct rl_link {
    struct rl_link *next; /* in its bucket */
    uint64_t hash;
} rl_link;

typedef struct rl_table {
    rl_link **buckets;
    size_t used;  /* buckets in use */
    size_t room;  /* buckets allocated */
    size_t level; /* the largest power of two that is not more than `used` */
    size_t count; /* records */
} rl_table;

/* Frees the buckets: the table is empty then. */
void rl_table_free(rl_table *table);

/* Adds a record. False when there is no memory for the first buckets; later ones are done
 * without. */
bool rl_table_add(rl_table *table, rl_link *link, uint64_t hash);

/* Removes a record of the table. */
void rl_table_remove(rl_table *table, const rl_link *link);

/* Any record, or NULL when the table is empty. `*at` is where to look first: 0 at first.
 */
rl_link *rl_table_any(const rl_table *table, size_t *at);

static inline size_t rl_table_bucket(const rl_table *table, uint64_t hash)
{
    size_t at = (size_t)hash & (2 * table->level - 1);

    return at < table->used ? at : (size_t)hash & (table->level - 1);
}

/* The first of the records that may have the key: those with its hash. */
static inline rl_link *rl_table_first(const rl_table *table, uint64_t hash)
{
    rl_link *link = table->used > 0 ? table->buckets[rl_table_bucket(table, hash)] : NULL;

    while (link != NULL && link->hash != hash) {
        link = link->next;
    }
    return link;
}

static inline rl_link *rl_table_next(const rl_link *link)
{
    uint64_t hash = link->hash;
    rl_link *next = link->next;

    while (next != NULL && next->hash != hash) {
        next = next->next;
    }
    return next;
}

#endif
