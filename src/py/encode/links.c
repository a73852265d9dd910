/* The objects of a payload. See links.h. */
#include "py/encode/links.h"

#include "core/alloc.h"

#define FIRST_ROOM 32

void rl_links_free(rl_links *links)
{
    rl_links old = *links;

    *links = (rl_links){NULL, NULL, 0, 0};
    for (size_t i = 0; i < old.count; i++) { /* which may run the user's code */
        Py_DECREF(old.list[i].object);
    }
    rl_free(old.list);
    rl_free(old.slots);
}

static size_t slot_of(const PyObject *object)
{
    return (size_t)((uint64_t)(uintptr_t)object * UINT64_C(0x9E3779B97F4A7C15) >> 24);
}

/* The slot of an object, or the free one that it may take. */
static uint32_t *slot_for(const rl_links *links, const PyObject *object)
{
    size_t at = slot_of(object);

    for (;; at++) {
        uint32_t *slot = &links->slots[at & (2 * links->room - 1)];

        if (*slot == 0 || links->list[*slot - 1].object == object) {
            return slot;
        }
    }
}

static bool grow(rl_links *links)
{
    size_t room = links->room != 0 ? 4 * links->room : FIRST_ROOM;
    uint32_t *slots = rl_calloc(2 * room, sizeof *slots);
    rl_link *list = rl_realloc(links->list, room * sizeof *list);

    if (list != NULL) {
        links->list = list;
    }
    if (list == NULL || slots == NULL) {
        rl_free(slots);
        return false;
    }
    rl_free(links->slots);
    links->slots = slots;
    links->room = room;
    for (size_t i = 0; i < links->count; i++) {
        *slot_for(links, list[i].object) = (uint32_t)i + 1;
    }
    return true;
}

Py_ssize_t rl_links_find(rl_links *links, PyObject *object)
{
    uint32_t *slot;

    if (links->count == links->room && !grow(links)) {
        return -1;
    }
    slot = slot_for(links, object);
    if (*slot == 0) {
        links->list[links->count] = (rl_link){.object = Py_NewRef(object)};
        *slot = (uint32_t)++links->count;
    }
    return (Py_ssize_t)*slot - 1;
}

void rl_links_forget(rl_links *links, size_t at)
{
    for (size_t i = 0; i < links->count; i++) {
        rl_link *link = rl_links_at(links, (Py_ssize_t)i);

        if (link->state == RL_LINK_KNOWN && link->at >= at) {
            link->state = RL_LINK_NEW;
        }
    }
}
