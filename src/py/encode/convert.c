/* Classification of types. See convert.h. */
#include "py/encode/convert.h"

#include "py/base/errors.h"

#include <stdbool.h>

#define CACHED_TYPES 4096 /* when there are more, the cache is emptied */

typedef struct known_type {
    const char *module, *name;
    rl_kind_of_value kind;
} known_type;

static const known_type known_types[] = {
    {"datetime", "date", RL_AS_ISO},
    {"datetime", "time", RL_AS_ISO},
    {"datetime", "timedelta", RL_AS_SECONDS},
    {"uuid", "UUID", RL_AS_TEXT},
    {"pathlib", "PurePath", RL_AS_TEXT},
    {"pathlib._local", "PurePath", RL_AS_TEXT},
    {"decimal", "Decimal", RL_AS_TEXT},
    {"fractions", "Fraction", RL_AS_TEXT},
    {"builtins", "complex", RL_AS_TEXT},
    {"ipaddress", "_IPAddressBase", RL_AS_TEXT},
    {"re", "Pattern", RL_AS_PATTERN},
    {"collections", "deque", RL_AS_SNAPSHOT},
    {"collections", "UserList", RL_AS_SNAPSHOT},
    {"collections", "UserString", RL_AS_TEXT},
    {"builtins", "range", RL_AS_ITERATOR},
    {"numpy", "ndarray", RL_AS_ARRAY},
    {"numpy", "datetime64", RL_AS_TEXT}, /* its item() of nanoseconds is a bare int */
    {"numpy", "generic", RL_AS_ITEM},
    {"pydantic.main", "BaseModel", RL_AS_DUMP},
    {"pydantic.v1.main", "BaseModel", RL_AS_OLD_DUMP},
    {"builtins", "function", RL_AS_NAME},
    {"builtins", "builtin_function_or_method", RL_AS_NAME},
    {"builtins", "method", RL_AS_NAME},
    {"builtins", "module", RL_AS_NAME},
};

static bool text_is(PyObject *object, const char *attribute, const char *text)
{
    PyObject *value = PyObject_GetAttrString(object, attribute);
    bool same = value != NULL && PyUnicode_Check(value) &&
                PyUnicode_CompareWithASCIIString(value, text) == 0;

    Py_XDECREF(value);
    PyErr_Clear();
    return same;
}

/* Whether the type or one of its bases has this module and name. */
static bool descends_from(PyTypeObject *type, const char *module, const char *name)
{
    PyObject *bases = type->tp_mro;
    bool found = false;

    for (Py_ssize_t i = 0; !found && bases != NULL && i < PyTuple_GET_SIZE(bases); i++) {
        PyObject *base = PyTuple_GET_ITEM(bases, i);

        found =
            text_is(base, "__qualname__", name) && text_is(base, "__module__", module);
    }
    return found;
}

/* An attribute of the type, or NULL without an error. New reference. */
static PyObject *type_attribute(PyTypeObject *type, const char *name)
{
    PyObject *value = PyObject_GetAttrString((PyObject *)type, name);

    PyErr_Clear();
    return value;
}

static bool iterates_as_dict(PyTypeObject *type)
{
    PyObject *own = type_attribute(type, "items");
    PyObject *plain = type_attribute(&PyDict_Type, "items");
    bool same = own == plain && type->tp_iter == PyDict_Type.tp_iter;

    Py_XDECREF(own);
    Py_XDECREF(plain);
    return same;
}

/* The names of a dataclass's fields, without the ClassVars and InitVars that
 * __dataclass_fields__ has as well. */
static PyObject *dataclass_fields(PyObject *table)
{
    PyObject *names = PyList_New(0), *result = NULL, *name, *field;
    Py_ssize_t at = 0;

    while (names != NULL && PyDict_Check(table) &&
           PyDict_Next(table, &at, &name, &field)) {
        PyObject *type = PyObject_GetAttrString(field, "_field_type");

        if (type == NULL) {
            PyErr_Clear();
        } else if (text_is(type, "name", "_FIELD") && PyList_Append(names, name) < 0) {
            Py_CLEAR(names);
        }
        Py_XDECREF(type);
    }
    if (names != NULL) {
        result = PyList_AsTuple(names);
        Py_DECREF(names);
    }
    return result;
}

/* The names of an attrs class's fields, from its tuple of Attribute objects. */
static PyObject *attrs_fields(PyObject *attributes)
{
    Py_ssize_t count = PyTuple_Check(attributes) ? PyTuple_GET_SIZE(attributes) : 0;
    PyObject *names = PyTuple_New(count);

    for (Py_ssize_t i = 0; names != NULL && i < count; i++) {
        PyObject *name = PyObject_GetAttrString(PyTuple_GET_ITEM(attributes, i), "name");

        if (name == NULL) {
            Py_CLEAR(names);
        } else {
            PyTuple_SET_ITEM(names, i, name);
        }
    }
    return names;
}

/* Dataclasses, attrs classes, namedtuples and LangGraph's Send. New reference or NULL. */
static PyObject *field_names(PyTypeObject *type)
{
    PyObject *table, *names = NULL;

    if (descends_from(type, "langgraph.types", "Send")) {
        names = Py_BuildValue("(ss)", "node", "arg");
    } else if ((table = type_attribute(type, "__dataclass_fields__")) != NULL) {
        names = dataclass_fields(table);
        Py_DECREF(table);
    } else if ((table = type_attribute(type, "__attrs_attrs__")) != NULL) {
        names = attrs_fields(table);
        Py_DECREF(table);
    } else if (PyType_IsSubtype(type, &PyTuple_Type) &&
               (table = type_attribute(type, "_fields")) != NULL) {
        names = PySequence_Tuple(table);
        Py_DECREF(table);
    }
    PyErr_Clear();
    return names;
}

/* Whether `owner.name` is absent or an empty container. */
static bool is_empty(PyObject *owner, const char *name)
{
    PyObject *value = PyObject_GetAttrString(owner, name);
    bool empty = value == NULL || PyObject_IsTrue(value) == 0;

    Py_XDECREF(value);
    PyErr_Clear();
    return empty;
}

/* Whether a pydantic model leaves a field out of its dump, or dumps it with a serializer
 * of the field's own (Annotated[..., PlainSerializer(...)]). */
static bool field_is_special(PyObject *field)
{
    PyObject *metadata = PyObject_GetAttrString(field, "metadata");
    Py_ssize_t count =
        metadata != NULL && PyList_Check(metadata) ? PyList_GET_SIZE(metadata) : 0;
    bool special = !is_empty(field, "exclude") || !is_empty(field, "exclude_if");

    for (Py_ssize_t i = 0; i < count && !special; i++) {
        PyTypeObject *type = Py_TYPE(PyList_GET_ITEM(metadata, i));

        special =
            descends_from(type, "pydantic.functional_serializers", "PlainSerializer") ||
            descends_from(type, "pydantic.functional_serializers", "WrapSerializer");
    }
    Py_XDECREF(metadata);
    PyErr_Clear();
    return special;
}

/* Whether a model's dump is just its fields. Such a model is read from its __dict__,
 * without a copy and without running Python code. LangChain's messages and Documents are
 * such models. */
static bool dumps_its_fields(PyTypeObject *type)
{
    PyObject *decorators = type_attribute(type, "__pydantic_decorators__");
    PyObject *fields = type_attribute(type, "__pydantic_fields__");
    PyObject *dump = type_attribute(type, "model_dump");
    PyObject *base = dump != NULL ? PyObject_GetAttrString(dump, "__module__") : NULL;
    bool plain = decorators != NULL && fields != NULL && PyDict_Check(fields) &&
                 base != NULL && PyUnicode_Check(base) &&
                 PyUnicode_CompareWithASCIIString(base, "pydantic.main") == 0 &&
                 is_empty(decorators, "field_serializers") &&
                 is_empty(decorators, "model_serializers") &&
                 is_empty(decorators, "computed_fields") &&
                 is_empty((PyObject *)type, "__pydantic_root_model__");
    PyObject *name, *field;
    Py_ssize_t at = 0;

    while (plain && PyDict_Next(fields, &at, &name, &field)) {
        plain = !field_is_special(field);
    }
    Py_XDECREF(base);
    Py_XDECREF(dump);
    Py_XDECREF(fields);
    Py_XDECREF(decorators);
    PyErr_Clear();
    return plain;
}

/* Classifies CPython's built-in types and their subclasses. */
static bool classify_builtin(PyTypeObject *type, rl_kind_of_value *kind)
{
    static const struct {
        PyTypeObject *base;
        rl_kind_of_value kind;
    } bases[] = {
        {&PyUnicode_Type, RL_AS_STR},      {&PyLong_Type, RL_AS_INT},
        {&PyFloat_Type, RL_AS_FLOAT},      {&PyBytes_Type, RL_AS_BASE64},
        {&PyByteArray_Type, RL_AS_BASE64}, {&PyMemoryView_Type, RL_AS_BASE64},
        {&PyList_Type, RL_AS_LIST},        {&PyTuple_Type, RL_AS_TUPLE},
        {&PySet_Type, RL_AS_SNAPSHOT},     {&PyFrozenSet_Type, RL_AS_SNAPSHOT},
        {&PyType_Type, RL_AS_NAME},
    };

    for (size_t i = 0; i < sizeof bases / sizeof *bases; i++) {
        if (PyType_IsSubtype(type, bases[i].base)) {
            *kind = bases[i].kind;
            return true;
        }
    }
    if (PyType_IsSubtype(type, (PyTypeObject *)PyExc_BaseException)) {
        *kind = RL_AS_EXCEPTION;
        return true;
    }
    if (PyType_IsSubtype(type, &PyDict_Type)) {
        *kind = iterates_as_dict(type) ? RL_AS_DICT : RL_AS_MAPPING;
        return true;
    }
    return false;
}

static rl_kind_of_value classify(rl_state *state, PyTypeObject *type, PyObject **fields)
{
    rl_kind_of_value kind = RL_AS_TYPE_NAME;

    if (descends_from(type, "enum", "Enum")) {
        return RL_AS_VALUE;
    }
    if (PyType_IsSubtype(type, &PyTuple_Type) && (*fields = field_names(type)) != NULL) {
        return RL_AS_FIELDS;
    }
    if (classify_builtin(type, &kind)) {
        return kind;
    }
    for (size_t i = 0; i < sizeof known_types / sizeof *known_types; i++) {
        const known_type *known = &known_types[i];

        if (descends_from(type, known->module, known->name)) {
            return known->kind == RL_AS_DUMP && dumps_its_fields(type) ? RL_AS_VARS
                                                                       : known->kind;
        }
    }
    if ((*fields = field_names(type)) != NULL) {
        return RL_AS_FIELDS;
    }
    if (PyObject_IsSubclass((PyObject *)type, state->mapping) == 1) {
        return RL_AS_MAPPING;
    }
    PyErr_Clear();
    return RL_AS_TYPE_NAME;
}

rl_kind_of_value rl_convert_kind(rl_state *state, PyTypeObject *type, PyObject **fields)
{
    PyObject *entry = PyDict_GetItemWithError(state->kinds, (PyObject *)type);
    PyObject *names = NULL;
    rl_kind_of_value kind;

    if (entry == NULL) {
        PyErr_Clear();
        kind = classify(state, type, &names);
        if (PyDict_GET_SIZE(state->kinds) >= CACHED_TYPES) {
            PyDict_Clear(state->kinds);
        }
        entry = Py_BuildValue("(iO)", (int)kind, names != NULL ? names : Py_None);
        Py_XDECREF(names);
        if (entry == NULL || PyDict_SetItem(state->kinds, (PyObject *)type, entry) < 0) {
            Py_XDECREF(entry);
            PyErr_Clear();
            return RL_AS_TYPE_NAME;
        }
        Py_DECREF(entry); /* the dict keeps it */
    }
    *fields = PyTuple_GET_ITEM(entry, 1);
    return (rl_kind_of_value)PyLong_AsLong(PyTuple_GET_ITEM(entry, 0));
}

PyObject *rl_convert_name(PyObject *value, rl_kind_of_value kind)
{
    PyObject *named = kind == RL_AS_NAME ? value : (PyObject *)Py_TYPE(value);
    PyObject *module = NULL, *name = NULL, *text = NULL;

    if (PyModule_Check(named)) {
        name = PyModule_GetNameObject(named);
        text = name != NULL ? PyUnicode_FromFormat("<%U>", name) : NULL;
        Py_XDECREF(name);
        return text;
    }
    name = PyObject_GetAttrString(named, "__qualname__");
    if (name == NULL) {
        return NULL;
    }
    module = PyObject_GetAttrString(named, "__module__");
    if (module != NULL && PyUnicode_Check(module)) {
        text = PyUnicode_FromFormat("<%U.%S>", module, name);
    } else {
        PyErr_Clear(); /* methods of built-in types have no module */
        text = PyUnicode_FromFormat("<%S>", name);
    }
    Py_XDECREF(module);
    Py_DECREF(name);
    return text;
}
