/* Doubly linked lists: a member leaves its list in one step, wherever it stands.
 *
 * The head and the members are rings; a ring that is linked to itself is an empty list,
 * or a member of none. Ownership: none. Not thread-safe.
 */
#ifndef RL_RING_H
#define RL_RING_H

#include <stdbool.h>
#include <stddef.h>

typedef struct rl_ring {
    struct rl_ring *before, *after;
} rl_ring;

/* The struct that has the ring as its member. */
#define RL_RING_OF(ring, type, member) \
    ((type *)(void *)((char *)(ring)-offsetof(type, member)))

static inline void rl_ring_init(rl_ring *ring)
{
    ring->before = ring;
    ring->after = ring;
}

static inline bool rl_ring_is_linked(const rl_ring *ring)
{
    return ring->after != ring;
}

static inline void rl_ring_remove(rl_ring *ring)
{
    ring->before->after = ring->after;
    ring->after->before = ring->before;
    rl_ring_init(ring);
}

/* Adds a member of no list at the end. */
static inline void rl_ring_add(rl_ring *head, rl_ring *ring)
{
    ring->before = head->before;
    ring->after = head;
    head->before->after = ring;
    head->before = ring;
}

/* The first member, or NULL. */
static inline rl_ring *rl_ring_first(const rl_ring *head)
{
    return head->after != head ? head->after : NULL;
}

#endif
