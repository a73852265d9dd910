/* What an exception says, without more work than a text of its length is worth.
 *
 * BaseException.__str__ and those of the other built-in exceptions make their text from
 * the arguments, whatever their size: `raise ValueError("bad state", state)`. Such a text
 * is made only if it will not be too long. A class's own __str__ is called.
 * Threads: with the GIL, which a __str__ or __repr__ of the user's may give up.
 */
#ifndef RL_PY_ERROR_TEXT_H
#define RL_PY_ERROR_TEXT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RL_ERROR_SAID ((size_t)65536) /* bytes that such a text may have */

/* The exception's text, as str() gives it; or what the text would be made of, if it would
 * certainly have more than `room` characters: the arguments, or the only one, which may
 * be a str. New reference; NULL with an error set. */
PyObject *rl_error_said(PyObject *error, size_t room);

/* The texts of the exceptions that are on their way from a node through its graphs: each
 * of them reports it. An exception is known by a weak reference, so that it is not kept
 * alive, and no later one at its address is taken for it. One that takes no weak
 * reference is held until the event ends that brought it.
 * Ownership: the owner of the struct owns its contents. */
#define RL_ERROR_TEXTS 8

typedef struct rl_error_text {
    PyObject *of; /* owned: a weak reference, or the exception; NULL: a free place */
    char *text;   /* owned: without secrets */
    size_t len;
    uint64_t salt; /* of the rules by which it was redacted */
    bool is_weak;
} rl_error_text;

typedef struct rl_error_texts { /* at first all zeros */
    rl_error_text list[RL_ERROR_TEXTS];
    unsigned next; /* the place that is used next */
} rl_error_texts;

/* The text of an exception, borrowed until other code of Python's runs; NULL if it is not
 * known. */
const rl_error_text *rl_error_texts_find(const rl_error_texts *texts, PyObject *error,
                                         uint64_t salt);

/* Adds a copy of a text; does nothing when memory is lacking. */
void rl_error_texts_add(rl_error_texts *texts, PyObject *error, uint64_t salt,
                        const char *text, size_t len);

/* At the end of an event: lets go of the exceptions that are held. May run the user's
 * code, as rl_error_texts_clear may, which removes everything. */
void rl_error_texts_end_event(rl_error_texts *texts);
void rl_error_texts_clear(rl_error_texts *texts);

#endif
