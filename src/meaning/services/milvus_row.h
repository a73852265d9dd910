/* The types of rows, searches and hits that milvus.h and the codec share.
 *
 * Threads: any. Ownership: rows and searches borrow their texts and vectors.
 */
#ifndef RL_MILVUS_ROW_H
#define RL_MILVUS_ROW_H

#include <stddef.h>
#include <stdint.h>

#define RL_MILVUS_ID 37 /* bytes of an id as text (a UUID), with the NUL */

typedef struct rl_milvus_row {
    const char *id, *wpk_id, *status, *run_id; /* valid UTF-8 */
    int64_t created_at;                        /* microseconds since 1970 */
    const float *vector;                       /* [dim] */
} rl_milvus_row;

/* Each filter may be left out: NULL, or RL_TIME_NONE for `since`. */
typedef struct rl_milvus_search {
    const float *vector; /* [dim] */
    uint32_t dim;
    const char *wpk_id, *status;
    int64_t since; /* microseconds since 1970: created_at is this moment or later */
    size_t limit;  /* 1 to 16,384 */
} rl_milvus_search;

typedef struct rl_milvus_hit {
    char id[RL_MILVUS_ID];
    float score; /* the cosine */
} rl_milvus_hit;

#endif
