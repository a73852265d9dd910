/* What was found in a roll-up. See database.h. */
#include "rollup/database.h"

#include <string.h>

void rl_rollup_rows_free(rl_rollup_rows *rows)
{
    rl_pool_free(&rows->pool);
    *rows = (rl_rollup_rows){NULL, 0, 0, {NULL, NULL, 0}};
}

bool rl_rollup_rows_add(rl_rollup_rows *rows, const rl_rollup_row *row)
{
    rl_rollup_row *last = rows->count > 0 ? &rows->list[rows->count - 1] : NULL;
    const rl_string data = rl_pool_keep(&rows->pool, row->data.data, row->data.len);
    rl_rollup_row kept = *row;

    kept.data = (rl_bytes){data.text, data.len};
    kept.wpk_id = last != NULL && rl_text_equals(last->wpk_id, row->wpk_id)
                      ? last->wpk_id
                      : rl_pool_keep(&rows->pool, row->wpk_id.text, row->wpk_id.len);
    if (rows->count == rows->room && kept.wpk_id.text != NULL) {
        const size_t room = rows->room > 0 ? 2 * rows->room : 64;
        rl_rollup_row *larger = rl_pool_take(&rows->pool, room * sizeof *larger);

        if (larger == NULL) {
            return false;
        }
        if (rows->count > 0) {
            memcpy(larger, rows->list, rows->count * sizeof *larger);
        }
        rows->list = larger;
        rows->room = room;
    }
    if (kept.wpk_id.text == NULL || (row->data.len > 0 && data.text == NULL)) {
        return false;
    }
    rows->list[rows->count++] = kept;
    return true;
}
