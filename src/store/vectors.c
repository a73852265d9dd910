/* Keeping vectors: blocks of rows, and a table of their ids. See vectors.h. The last row moves
 * into the place of one that is dropped.
 */
#include "store/vectors.h"

#include "core/alloc.h"
#include "store/vectors_rows.h"

#include <string.h>

#define MAX_DIM ((uint32_t)1 << 20) /* far more than any model's; sizes can't overflow */
#define BLOCK_BYTES ((size_t)1 << 20)
#define BLOCKS_WANTED 16 /* of a store that may not have so many of the size above */
#define FIRST_TABLE 64   /* entries; a power of two, as are all its sizes */
#define FIRST_BLOCKS 8   /* places in the list of the blocks */

static size_t block_bytes(const rl_vectors *vectors)
{
    size_t row = vectors->width * sizeof(float) + sizeof(uint64_t) + RL_ID_SIZE;

    return rl_block_rows(vectors) * row + RL_DOT_ALIGN;
}

/* Where an entry of the table would be, were no other there. */
static size_t home_of(const rl_vectors *vectors, const uint8_t id[RL_ID_SIZE])
{
    uint64_t half[2], mixed;

    memcpy(half, id, sizeof half);
    mixed = (half[0] * UINT64_C(0x9e3779b97f4a7c15)) ^ half[1];
    mixed = (mixed ^ (mixed >> 32)) * UINT64_C(0x94d049bb133111eb);
    return (size_t)(mixed ^ (mixed >> 29)) & (vectors->table_size - 1);
}

/* The place of an id in the table, or the empty one where it belongs. There is always one
 * that is empty. */
static size_t place_of(const rl_vectors *vectors, const uint8_t id[RL_ID_SIZE])
{
    size_t place = home_of(vectors, id);

    while (vectors->table[place] != 0 &&
           memcmp(rl_id_at(vectors, vectors->table[place] - 1), id, RL_ID_SIZE) != 0) {
        place = (place + 1) & (vectors->table_size - 1);
    }
    return place;
}

/* Empties a place; the entries behind it move up, so that none is behind a gap. */
static void empty_place(rl_vectors *vectors, size_t place)
{
    size_t mask = vectors->table_size - 1;

    for (size_t next = (place + 1) & mask; vectors->table[next] != 0;
         next = (next + 1) & mask) {
        size_t home = home_of(vectors, rl_id_at(vectors, vectors->table[next] - 1));

        if (((next - home) & mask) >= ((next - place) & mask)) {
            vectors->table[place] = vectors->table[next];
            place = next;
        }
    }
    vectors->table[place] = 0;
}

rl_vectors *rl_vectors_new(uint32_t dim, size_t max_bytes)
{
    const rl_dot_kernel *kernels[RL_DOT_KERNELS_MAX];
    size_t size = max_bytes / BLOCKS_WANTED;
    rl_vectors *vectors = NULL;

    if (dim == 0 || dim > MAX_DIM) {
        return NULL;
    }
    vectors = rl_calloc(1, sizeof *vectors);
    if (vectors == NULL) {
        return NULL;
    }
    (void)rl_dot_kernels(kernels);
    vectors->kernel = kernels[0];
    vectors->dim = dim;
    vectors->width = ((size_t)dim + RL_DOT_LANES - 1) / RL_DOT_LANES * RL_DOT_LANES;
    vectors->max_bytes = max_bytes;
    vectors->bytes = sizeof *vectors;
    if (size > BLOCK_BYTES) {
        size = BLOCK_BYTES;
    }
    do {
        vectors->shift++;
    } while (block_bytes(vectors) <= size);
    vectors->shift--;
    return vectors;
}

void rl_vectors_free(rl_vectors *vectors)
{
    if (vectors == NULL) {
        return;
    }
    for (size_t i = 0; i < vectors->blocks_count; i++) {
        rl_free(vectors->blocks[i].memory);
    }
    rl_free(vectors->blocks);
    rl_free(vectors->table);
    rl_free(vectors);
}

static bool table_is_full(const rl_vectors *vectors)
{
    return vectors->count + 1 > vectors->table_size / 4 * 3;
}

static bool blocks_are_full(const rl_vectors *vectors)
{
    return vectors->count >> vectors->shift == vectors->blocks_count;
}

static size_t next_table(const rl_vectors *vectors)
{
    return vectors->table_size != 0 ? vectors->table_size * 2 : FIRST_TABLE;
}

static size_t next_blocks(const rl_vectors *vectors)
{
    return vectors->blocks_room != 0 ? vectors->blocks_room * 2 : FIRST_BLOCKS;
}

/* Bytes that one more row needs. A larger table is there beside the old one for a while, so
 * all of it counts. */
static size_t growth(const rl_vectors *vectors)
{
    size_t bytes = 0;

    if (table_is_full(vectors)) {
        bytes += next_table(vectors) * sizeof *vectors->table;
    }
    if (blocks_are_full(vectors)) {
        bytes += block_bytes(vectors);
        if (vectors->blocks_count == vectors->blocks_room) {
            bytes += (next_blocks(vectors) - vectors->blocks_room) * sizeof(rl_block);
        }
    }
    return bytes;
}

static bool grow_table(rl_vectors *vectors)
{
    size_t size = next_table(vectors), old = vectors->table_size;
    uint32_t *table = rl_calloc(size, sizeof *table);

    if (table == NULL) {
        return false;
    }
    rl_free(vectors->table);
    vectors->table = table;
    vectors->table_size = size;
    vectors->bytes += (size - old) * sizeof *table;
    for (size_t row = 0; row < vectors->count; row++) {
        table[place_of(vectors, rl_id_at(vectors, row))] = (uint32_t)row + 1;
    }
    return true;
}

static bool add_block(rl_vectors *vectors)
{
    void *memory;

    if (vectors->blocks_count == vectors->blocks_room) {
        size_t room = next_blocks(vectors);
        rl_block *blocks = rl_realloc(vectors->blocks, room * sizeof *blocks);

        if (blocks == NULL) {
            return false;
        }
        vectors->bytes += (room - vectors->blocks_room) * sizeof *blocks;
        vectors->blocks = blocks;
        vectors->blocks_room = room;
    }
    memory = rl_malloc(block_bytes(vectors));
    if (memory == NULL) {
        return false;
    }
    vectors->blocks[vectors->blocks_count++] = (rl_block){memory, rl_row_align(memory)};
    vectors->bytes += block_bytes(vectors);
    return true;
}

/* Makes room for one more row. */
static rl_vectors_put_result make_room(rl_vectors *vectors)
{
    size_t bytes = growth(vectors);

    if (bytes != 0 && (vectors->bytes > vectors->max_bytes ||
                       bytes > vectors->max_bytes - vectors->bytes)) {
        return RL_VECTORS_FULL;
    }
    if (vectors->count == UINT32_MAX) {
        return RL_VECTORS_FULL;
    }
    if (table_is_full(vectors) && !grow_table(vectors)) {
        return RL_VECTORS_NOMEM;
    }
    if (blocks_are_full(vectors) && !add_block(vectors)) {
        return RL_VECTORS_NOMEM;
    }
    return RL_VECTORS_KEPT;
}

/* The number of the row of an id + 1, or 0. */
static size_t find(const rl_vectors *vectors, const uint8_t id[RL_ID_SIZE])
{
    return vectors->count != 0 ? vectors->table[place_of(vectors, id)] : 0;
}

rl_vectors_put_result rl_vectors_put(rl_vectors *vectors, const uint8_t id[16],
                                     uint64_t group, const void *vector)
{
    double length = rl_vectors_length(vector, vectors->dim);
    size_t found = find(vectors, id);
    rl_vectors_put_result result = RL_VECTORS_KEPT;

    if (length == 0) {
        return RL_VECTORS_BAD;
    }
    if (found == 0) {
        result = make_room(vectors);
    }
    if (result != RL_VECTORS_KEPT) {
        return result;
    }
    if (found == 0) {
        size_t place = place_of(vectors, id);

        memcpy(rl_id_at(vectors, vectors->count), id, RL_ID_SIZE);
        found = ++vectors->count;
        vectors->table[place] = (uint32_t)found;
    }
    rl_vectors_write_unit(vectors, vector, length, rl_row_at(vectors, found - 1));
    *rl_group_at(vectors, found - 1) = group;
    return RL_VECTORS_KEPT;
}

/* Gives the last block back once that before it is half empty as well, so that adding and
 * dropping one in turn does not allocate each time. */
static void give_back(rl_vectors *vectors)
{
    size_t half = rl_block_rows(vectors) / 2;
    size_t spare = (vectors->blocks_count << vectors->shift) - vectors->count;

    if (spare > rl_block_rows(vectors) + half) {
        rl_free(vectors->blocks[--vectors->blocks_count].memory);
        vectors->bytes -= block_bytes(vectors);
    }
}

void rl_vectors_drop(rl_vectors *vectors, const uint8_t id[16])
{
    size_t found = find(vectors, id);
    size_t row = found - 1, last = vectors->count - 1;

    if (found == 0) {
        return;
    }
    empty_place(vectors, place_of(vectors, id));
    if (row != last) {
        vectors->table[place_of(vectors, rl_id_at(vectors, last))] = (uint32_t)found;
        memcpy(rl_id_at(vectors, row), rl_id_at(vectors, last), RL_ID_SIZE);
        memcpy(rl_row_at(vectors, row), rl_row_at(vectors, last),
               vectors->width * sizeof(float));
        *rl_group_at(vectors, row) = *rl_group_at(vectors, last);
    }
    vectors->count--;
    give_back(vectors);
}

size_t rl_vectors_count(const rl_vectors *vectors)
{
    return vectors->count;
}

size_t rl_vectors_bytes(const rl_vectors *vectors)
{
    return vectors->bytes;
}

uint32_t rl_vectors_dim(const rl_vectors *vectors)
{
    return vectors->dim;
}

const float *rl_vectors_get(const rl_vectors *vectors, const uint8_t id[16])
{
    size_t found = find(vectors, id);

    return found != 0 ? rl_row_at(vectors, found - 1) : NULL;
}

void rl_vectors_use_kernel(rl_vectors *vectors, const rl_dot_kernel *kernel)
{
    vectors->kernel = kernel;
}
