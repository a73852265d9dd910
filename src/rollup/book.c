/* Lists of what a roll-up has. See book.h. */
#include "rollup/book.h"

#include <string.h>

static bool grow(void *list_at, size_t count, size_t *room, size_t size, rl_pool *pool)
{
    const size_t wanted = *room > 0 ? 2 * *room : 8;
    void *list, *larger;

    if (count < *room) {
        return true;
    }
    larger = rl_pool_take(pool, wanted * size);
    if (larger == NULL) {
        return false;
    }
    memcpy(&list, list_at, sizeof list);
    if (count > 0) {
        memcpy(larger, list, count * size);
    }
    memcpy(list_at, &larger, sizeof larger);
    *room = wanted;
    return true;
}

bool rl_pieces_add(rl_pieces *pieces, rl_pool *pool, const rl_piece *piece)
{
    const bool grown =
        grow(&pieces->list, pieces->count, &pieces->room, sizeof *pieces->list, pool);

    if (grown) {
        pieces->list[pieces->count++] = *piece;
    }
    return grown;
}

bool rl_marks_add(rl_marks *marks, rl_pool *pool, const rl_mark *mark)
{
    const bool grown =
        grow(&marks->list, marks->count, &marks->room, sizeof *marks->list, pool);

    if (grown) {
        marks->list[marks->count++] = *mark;
    }
    return grown;
}

bool rl_names_add(rl_names *names, rl_pool *pool, rl_string name)
{
    const bool grown =
        grow(&names->list, names->count, &names->room, sizeof *names->list, pool);

    if (grown) {
        names->list[names->count++] = name;
    }
    return grown;
}

rl_string rl_pool_keep(rl_pool *pool, const void *text, size_t len)
{
    const char *copy = text != NULL ? rl_pool_text(pool, text, len) : NULL;

    return (rl_string){copy, copy != NULL ? len : 0};
}
