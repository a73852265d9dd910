/* The objects of one payload, by their identity: one that occurs again is not walked
 * again.
 *
 * Objects may name one another: of 14 that all do, a walk of every path would take
 * seconds. A reference to each object is held until the payload is done, so that no other
 * one can get its address meanwhile.
 * Threads: with the GIL. Ownership: the owner of the struct owns its contents.
 */
#ifndef RL_PY_LINKS_H
#define RL_PY_LINKS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "core/buf.h"

#include <stdbool.h>
#include <stdint.h>

#define RL_LINK_COPIED ((size_t)8192) /* bytes: a longer text is not written again */

typedef enum rl_link_state {
    RL_LINK_NEW, /* or only a marker was written */
    RL_LINK_OPEN,
    RL_LINK_KNOWN, /* its text is written */
} rl_link_state;

typedef struct rl_link {
    PyObject *object; /* owned */
    uint32_t at;      /* of its text, if that is known */
    uint32_t room;    /* fitting: the room that it got, if something of it was left out */
    uint16_t len;     /* 0: too long to be written again */
    uint8_t height;   /* containers within one another in the text */
    uint8_t state;    /* rl_link_state */
} rl_link;

typedef struct rl_links { /* at first all zeros */
    rl_link *list;        /* owned */
    uint32_t *slots;      /* owned: a hash table of places in the list, plus one */
    size_t count, room; /* in the list: used, and in all; there are twice as many slots */
} rl_links;

void rl_links_free(rl_links *links);

/* The place of an object in the list; it is added if it is new. -1 without memory. */
Py_ssize_t rl_links_find(rl_links *links, PyObject *object);

/* The text in the buffer from `at` on is gone, and so is that of the objects there. */
void rl_links_forget(rl_links *links, size_t at);

static inline rl_link *rl_links_at(const rl_links *links, Py_ssize_t place)
{
    return &links->list[place];
}

#endif
