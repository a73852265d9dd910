/* Expressions that select rows. See milvus_filter.h. */
#include "meaning/services/milvus_filter.h"

#include "core/clock.h"
#include "meaning/services/utf8_prefix.h"

#include <inttypes.h>

/* Uses only the escapes that the parser of every version of Milvus knows; a literal may
 * contain other control characters unescaped. */
void rl_milvus_add_literal(rl_buf *buf, const char *text, size_t len)
{
    rl_buf_add_char(buf, '"');
    for (size_t i = 0; i < len; i++) {
        const char c = text[i];
        const char escape = c == '\n' ? 'n' : c == '\r' ? 'r' : c == '\t' ? 't' : c;

        if (escape != c || c == '"' || c == '\\') {
            rl_buf_add_char(buf, '\\');
        }
        rl_buf_add_char(buf, escape);
    }
    rl_buf_add_char(buf, '"');
}

static void add_and(rl_buf *buf)
{
    if (buf->len != 0) {
        rl_buf_add_text(buf, " and ");
    }
}

static void add_equal(rl_buf *buf, int field, const char *text, const size_t *max_length)
{
    if (text != NULL) {
        add_and(buf);
        rl_buf_add_text(buf, rl_milvus_fields[field].name);
        rl_buf_add_text(buf, " == ");
        rl_milvus_add_literal(buf, text,
                              rl_utf8_prefix(text, strlen(text), max_length[field]));
    }
}

void rl_milvus_add_filter(rl_buf *buf, const rl_milvus_search *search,
                          const size_t max_length[RL_MILVUS_FIELDS])
{
    add_equal(buf, RL_MILVUS_FIELD_WPK_ID, search->wpk_id, max_length);
    add_equal(buf, RL_MILVUS_FIELD_STATUS, search->status, max_length);
    if (search->since != RL_TIME_NONE) {
        add_and(buf);
        rl_buf_printf(buf, "%s >= %" PRId64,
                      rl_milvus_fields[RL_MILVUS_FIELD_CREATED_AT].name, search->since);
    }
}

void rl_milvus_add_ids(rl_buf *buf, const char *const *ids, size_t count)
{
    rl_buf_add_text(buf, rl_milvus_fields[RL_MILVUS_FIELD_ID].name);
    rl_buf_add_text(buf, " in [");
    for (size_t i = 0; i < count; i++) {
        if (i != 0) {
            rl_buf_add_char(buf, ',');
        }
        rl_milvus_add_literal(buf, ids[i], strlen(ids[i]));
    }
    rl_buf_add_char(buf, ']');
}
