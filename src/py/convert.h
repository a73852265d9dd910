/* What becomes of the values that JSON has no form for: each type is classified once, by
 * what it is called and what it offers, and remembered.
 *
 * A type is told by the names of its bases ("decimal.Decimal"), so that no module has to be
 * imported that the program itself does not use.
 * Threads: with the GIL.
 */
#ifndef RL_PY_CONVERT_H
#define RL_PY_CONVERT_H

#include "py/state.h"

typedef enum rl_kind_of_value {
    RL_AS_STR,       /* a subclass of str */
    RL_AS_INT,       /* a subclass of int */
    RL_AS_FLOAT,     /* a subclass of float */
    RL_AS_BASE64,    /* bytes, bytearray, memoryview */
    RL_AS_DICT,      /* a subclass of dict that iterates as dict does */
    RL_AS_MAPPING,   /* .items() */
    RL_AS_LIST,      /* a subclass of list */
    RL_AS_TUPLE,     /* a subclass of tuple */
    RL_AS_SNAPSHOT,  /* list(value): sets and deques, which may change under way */
    RL_AS_ITERATOR,  /* iter(value): ranges, which may be longer than memory */
    RL_AS_FIELDS,    /* an object of named attributes */
    RL_AS_VARS,      /* an object of its __dict__ */
    RL_AS_DUMP,      /* .model_dump() */
    RL_AS_OLD_DUMP,  /* .dict(), pydantic 1 */
    RL_AS_ISO,       /* .isoformat() */
    RL_AS_SECONDS,   /* .total_seconds() */
    RL_AS_TEXT,      /* str(value) */
    RL_AS_PATTERN,   /* .pattern */
    RL_AS_VALUE,     /* .value, an Enum */
    RL_AS_ITEM,      /* .item(), a numpy scalar */
    RL_AS_ARRAY,     /* a numpy array */
    RL_AS_EXCEPTION, /* {"error", "message"} */
    RL_AS_NAME,      /* "<module.qualname>" of the thing itself: functions, classes */
    RL_AS_TYPE_NAME, /* the same of its type */
} rl_kind_of_value;

/* The kind of a value of the type; *fields gets the names of its fields (a tuple, borrowed
 * from the state) where the kind needs them. Never fails: what can't be told is a name. */
rl_kind_of_value rl_convert_kind(rl_state *state, PyTypeObject *type, PyObject **fields);

/* "<module.qualname>" of a thing, or of its type. New reference; NULL with an error set. */
PyObject *rl_convert_name(PyObject *value, rl_kind_of_value kind);

#endif
