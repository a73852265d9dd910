/* A hash table that grows one bucket at a time. See table.h. */
#include "core/table.h"

#include "core/alloc.h"

#include <string.h>

#define FIRST_BUCKETS 8

void rl_table_free(rl_table *table)
{
    rl_free(table->buckets);
    memset(table, 0, sizeof *table);
}

static bool make_room(rl_table *table)
{
    size_t room = table->room > 0 ? 2 * table->room : FIRST_BUCKETS;
    rl_link **buckets = rl_realloc(table->buckets, room * sizeof(rl_link *));

    if (buckets != NULL) {
        table->buckets = buckets;
        table->room = room;
    }
    return buckets != NULL;
}

/* Adds a bucket, and moves into it the records of another one that belong there. Without
 * memory the chains grow longer instead. */
static void split(rl_table *table)
{
    rl_link **from, **to;

    if (table->used == table->room && !make_room(table)) {
        return;
    }
    from = &table->buckets[table->used - table->level];
    to = &table->buckets[table->used];
    *to = NULL;
    while (*from != NULL) {
        rl_link *link = *from;

        if ((link->hash & table->level) != 0) {
            *from = link->next;
            link->next = *to;
            *to = link;
        } else {
            from = &link->next;
        }
    }
    table->used++;
    if (table->used == 2 * table->level) {
        table->level = table->used;
    }
}

bool rl_table_add(rl_table *table, rl_link *link, uint64_t hash)
{
    rl_link **bucket;

    if (table->used == 0) {
        if (!make_room(table)) {
            return false;
        }
        memset(table->buckets, 0, FIRST_BUCKETS * sizeof(rl_link *));
        table->used = FIRST_BUCKETS;
        table->level = FIRST_BUCKETS;
    }
    if (table->count >= table->used) {
        split(table);
    }
    bucket = &table->buckets[rl_table_bucket(table, hash)];
    link->hash = hash;
    link->next = *bucket;
    *bucket = link;
    table->count++;
    return true;
}

void rl_table_remove(rl_table *table, const rl_link *link)
{
    rl_link **at = &table->buckets[rl_table_bucket(table, link->hash)];

    while (*at != link) {
        at = &(*at)->next;
    }
    *at = link->next;
    table->count--;
}

rl_link *rl_table_any(const rl_table *table, size_t *at)
{
    while (*at < table->used && table->buckets[*at] == NULL) {
        ++*at;
    }
    return *at < table->used ? table->buckets[*at] : NULL;
}
