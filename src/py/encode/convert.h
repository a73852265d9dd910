/* How values that JSON has no form for are converted: by the kind of their type. Each
 * type is classified once, by the names of its bases and by its attributes, and the kind
 * is cached.
 *
 * Bases are found by name ("decimal.Decimal"), so that no module has to be imported that
 * the program itself does not use.
 * Exceptions are absorbed, and the program's handed to `raised`.
 * Threads: with the GIL.
 */
#ifndef RL_PY_CONVERT_H
#define RL_PY_CONVERT_H

#include "py/base/raised.h"
#include "py/base/state.h"

typedef enum rl_kind_of_value {
    RL_AS_STR,       /* a subclass of str */
    RL_AS_INT,       /* a subclass of int */
    RL_AS_FLOAT,     /* a subclass of float */
    RL_AS_BASE64,    /* bytes, bytearray, memoryview */
    RL_AS_DICT,      /* a subclass of dict that iterates as dict does */
    RL_AS_MAPPING,   /* its keys, and the value of each */
    RL_AS_LIST,      /* a subclass of list */
    RL_AS_TUPLE,     /* a subclass of tuple */
    RL_AS_SNAPSHOT,  /* list(value): sets and deques, which may change during the walk */
    RL_AS_ITERATOR,  /* iter(value): ranges, which may be longer than memory */
    RL_AS_FIELDS,    /* an object of named attributes */
    RL_AS_VARS,      /* an object of its __dict__ */
    RL_AS_DUMP,      /* .model_dump(), pydantic's own */
    RL_AS_OWN_DUMP,  /* .model_dump() of the class's own */
    RL_AS_OLD_DUMP,  /* .dict(), pydantic 1 */
    RL_AS_ISO,       /* .isoformat() */
    RL_AS_SECONDS,   /* .total_seconds() */
    RL_AS_TEXT,      /* str(value) */
    RL_AS_PATTERN,   /* .pattern */
    RL_AS_VALUE,     /* .value, an Enum */
    RL_AS_ITEM,      /* .item(), a numpy scalar */
    RL_AS_ARRAY,     /* a numpy array */
    RL_AS_SUMMARY,   /* a table, a tensor or an image: runlog/_describe.py */
    RL_AS_EXCEPTION, /* {"error", "message"} */
    RL_AS_NAME,      /* "<module.qualname>" of the thing itself: functions, classes */
    RL_AS_TYPE_NAME, /* the same of its type */
} rl_kind_of_value;

/* The kind of a type; *fields gets the names of its fields (a new reference to a tuple of
 * str) for RL_AS_FIELDS, else NULL. Never fails: a type that can't be classified is
 * RL_AS_TYPE_NAME. May run the code of metaclasses and descriptors. */
rl_kind_of_value rl_convert_kind(rl_state *state, rl_raised *raised, PyTypeObject *type,
                                 PyObject **fields);

/* "<module.qualname>" of a thing, or of its type. New reference; NULL with an error
 * set. */
PyObject *rl_convert_name(rl_raised *raised, PyObject *value, rl_kind_of_value kind);

/* What a model of one of the three kinds of dumps gives, without warnings of pydantic's:
 * the program has not asked for the dump. New reference; NULL with an error set. */
PyObject *rl_convert_dump(PyObject *model, rl_kind_of_value kind);

#endif
