/* Classification of types. See convert.h. */
#include "py/encode/convert.h"

#include <stdbool.h>

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
    {"numpy", "matrix", RL_AS_SUMMARY}, /* each of its rows is a matrix again */
    {"numpy.ma", "MaskedArray", RL_AS_SUMMARY},
    {"numpy.ma.core", "MaskedArray", RL_AS_SUMMARY},
    {"numpy", "ndarray", RL_AS_ARRAY},
    {"numpy", "datetime64", RL_AS_TEXT}, /* its item() of nanoseconds is a bare int */
    {"numpy", "void", RL_AS_SUMMARY},    /* a structure, of which item() has no names */
    {"numpy", "generic", RL_AS_ITEM},
    {"pydantic.networks", "_BaseUrl", RL_AS_TEXT},
    {"pydantic.networks", "_BaseMultiHostUrl", RL_AS_TEXT},
    {"pydantic_core._pydantic_core", "Url", RL_AS_TEXT}, /* before pydantic 2.10 */
    {"pydantic_core._pydantic_core", "MultiHostUrl", RL_AS_TEXT},
    {"pydantic.main", "BaseModel", RL_AS_DUMP},
    {"pydantic.v1.main", "BaseModel", RL_AS_OLD_DUMP},
    {"pandas", "DataFrame", RL_AS_SUMMARY},
    {"pandas", "Series", RL_AS_SUMMARY},
    {"pandas", "Index", RL_AS_SUMMARY},
    {"pandas.core.frame", "DataFrame", RL_AS_SUMMARY}, /* before pandas 3 */
    {"pandas.core.series", "Series", RL_AS_SUMMARY},
    {"pandas.core.indexes.base", "Index", RL_AS_SUMMARY},
    {"pandas.core.arrays.base", "ExtensionArray", RL_AS_SUMMARY},
    {"pandas.api.extensions", "ExtensionArray", RL_AS_SUMMARY},
    {"pandas.api.typing", "NAType", RL_AS_SUMMARY},
    {"pandas._libs.missing", "NAType", RL_AS_SUMMARY},
    {"pandas", "Period", RL_AS_TEXT},
    {"pandas._libs.tslibs.period", "Period", RL_AS_TEXT},
    {"pandas", "Interval", RL_AS_TEXT},
    {"pandas._libs.interval", "Interval", RL_AS_TEXT},
    {"polars.dataframe.frame", "DataFrame", RL_AS_SUMMARY},
    {"polars.series.series", "Series", RL_AS_SUMMARY},
    {"PIL.Image", "Image", RL_AS_SUMMARY},
    {"torch", "Tensor", RL_AS_SUMMARY},
    {"builtins", "function", RL_AS_NAME},
    {"builtins", "builtin_function_or_method", RL_AS_NAME},
    {"builtins", "method", RL_AS_NAME},
    {"builtins", "module", RL_AS_NAME},
};

/* Every function here may run the code of a metaclass or a descriptor, which may change
 * any type, dict or list: each holds what it goes through. */

/* An attribute, or NULL without an error. New reference. */
static PyObject *attribute(rl_raised *raised, PyObject *object, const char *name)
{
    PyObject *value = PyObject_GetAttrString(object, name);

    if (value == NULL) {
        rl_raised_absorb(raised);
    }
    return value;
}

static bool text_is(rl_raised *raised, PyObject *object, const char *name,
                    const char *text)
{
    PyObject *value = attribute(raised, object, name);
    bool same = value != NULL && PyUnicode_Check(value) &&
                PyUnicode_CompareWithASCIIString(value, text) == 0;

    Py_XDECREF(value);
    return same;
}

/* Whether the type or one of its bases has this module and name. */
static bool descends_from(rl_raised *raised, PyTypeObject *type, const char *module,
                          const char *name)
{
    PyObject *bases = Py_XNewRef(type->tp_mro);
    bool found = false;

    for (Py_ssize_t i = 0; !found && bases != NULL && i < PyTuple_GET_SIZE(bases); i++) {
        PyObject *base = PyTuple_GET_ITEM(bases, i);

        found = text_is(raised, base, "__qualname__", name) &&
                text_is(raised, base, "__module__", module);
    }
    Py_XDECREF(bases);
    return found;
}

static bool has_attribute(rl_raised *raised, PyTypeObject *type, const char *name)
{
    PyObject *value = attribute(raised, (PyObject *)type, name);

    Py_XDECREF(value);
    return value != NULL;
}

static bool iterates_as_dict(rl_raised *raised, PyTypeObject *type)
{
    PyObject *own = attribute(raised, (PyObject *)type, "items");
    PyObject *plain = attribute(raised, (PyObject *)&PyDict_Type, "items");
    bool same = own == plain && type->tp_iter == PyDict_Type.tp_iter;

    Py_XDECREF(own);
    Py_XDECREF(plain);
    return same;
}

/* The names of a dataclass's fields, without the ClassVars and InitVars that
 * __dataclass_fields__ has as well. */
static PyObject *dataclass_fields(rl_raised *raised, PyObject *table)
{
    PyObject *names = PyList_New(0), *name, *field;
    Py_ssize_t at = 0, left = PyDict_Check(table) ? PyDict_GET_SIZE(table) : 0;

    while (names != NULL && left-- > 0 && PyDict_Next(table, &at, &name, &field)) {
        PyObject *type;

        Py_INCREF(name);
        Py_INCREF(field);
        type = attribute(raised, field, "_field_type");
        if (type != NULL && text_is(raised, type, "name", "_FIELD") &&
            PyList_Append(names, name) < 0) {
            Py_CLEAR(names);
        }
        Py_XDECREF(type);
        Py_DECREF(field);
        Py_DECREF(name);
    }
    return names;
}

/* The names of an attrs class's fields, from its tuple of Attribute objects. */
static PyObject *attrs_fields(PyObject *attributes)
{
    Py_ssize_t count = PyTuple_Check(attributes) ? PyTuple_GET_SIZE(attributes) : 0;
    PyObject *names = PyList_New(0);

    for (Py_ssize_t i = 0; names != NULL && i < count; i++) {
        PyObject *name = PyObject_GetAttrString(PyTuple_GET_ITEM(attributes, i), "name");

        if (name == NULL || PyList_Append(names, name) < 0) {
            Py_CLEAR(names);
        }
        Py_XDECREF(name);
    }
    return names;
}

/* The names (a list, stolen, or NULL) as a tuple of plain str, which lead to no class.
 * New reference; NULL without an error if there are none, or one is no str. */
static PyObject *plain_names(rl_raised *raised, PyObject *list)
{
    Py_ssize_t count = list != NULL ? PyList_GET_SIZE(list) : 0;
    PyObject *names = list != NULL ? PyTuple_New(count) : NULL;

    for (Py_ssize_t i = 0; i < count && names != NULL; i++) {
        PyObject *name = PyUnicode_FromObject(PyList_GET_ITEM(list, i));

        if (name == NULL) {
            Py_CLEAR(names);
        } else {
            PyTuple_SET_ITEM(names, i, name);
        }
    }
    Py_XDECREF(list);
    rl_raised_absorb(raised);
    return names;
}

/* Dataclasses, attrs classes, namedtuples and LangGraph's Send. New reference or NULL. */
static PyObject *field_names(rl_raised *raised, PyTypeObject *type)
{
    PyObject *table, *owner = (PyObject *)type, *names = NULL;

    if (descends_from(raised, type, "langgraph.types", "Send")) {
        names = Py_BuildValue("[ss]", "node", "arg");
    } else if ((table = attribute(raised, owner, "__dataclass_fields__")) != NULL) {
        names = dataclass_fields(raised, table);
        Py_DECREF(table);
    } else if ((table = attribute(raised, owner, "__attrs_attrs__")) != NULL) {
        names = attrs_fields(table);
        Py_DECREF(table);
    } else if (PyType_IsSubtype(type, &PyTuple_Type) &&
               (table = attribute(raised, owner, "_fields")) != NULL) {
        names = PySequence_List(table);
        Py_DECREF(table);
    }
    return plain_names(raised, names);
}

/* Whether `owner.name` is absent or an empty container. */
static bool is_empty(rl_raised *raised, PyObject *owner, const char *name)
{
    PyObject *value = attribute(raised, owner, name);
    bool empty = value == NULL || PyObject_IsTrue(value) == 0;

    Py_XDECREF(value);
    rl_raised_absorb(raised);
    return empty;
}

/* Whether an item of a field's metadata is a serializer of the field's own
 * (Annotated[..., PlainSerializer(...)]). */
static bool is_serializer(rl_raised *raised, PyObject *item)
{
    PyTypeObject *type = (PyTypeObject *)Py_NewRef(Py_TYPE(item));
    const char *module = "pydantic.functional_serializers";
    bool is = descends_from(raised, type, module, "PlainSerializer") ||
              descends_from(raised, type, module, "WrapSerializer");

    Py_DECREF(type);
    return is;
}

/* Whether a pydantic model leaves a field out of its dump, or dumps it with a serializer
 * of the field's own. */
static bool field_is_special(rl_raised *raised, PyObject *field)
{
    PyObject *metadata = attribute(raised, field, "metadata");
    bool special =
        !is_empty(raised, field, "exclude") || !is_empty(raised, field, "exclude_if");

    for (Py_ssize_t i = 0; !special && metadata != NULL && PyList_Check(metadata) &&
                           i < PyList_GET_SIZE(metadata);
         i++) {
        PyObject *item = Py_NewRef(PyList_GET_ITEM(metadata, i));

        special = is_serializer(raised, item);
        Py_DECREF(item);
    }
    Py_XDECREF(metadata);
    return special;
}

/* Whether none of a model's fields is special. */
static bool fields_are_plain(rl_raised *raised, PyObject *fields)
{
    Py_ssize_t at = 0, left = PyDict_GET_SIZE(fields);
    PyObject *name, *field;
    bool plain = true;

    while (plain && left-- > 0 && PyDict_Next(fields, &at, &name, &field)) {
        Py_INCREF(field);
        plain = !field_is_special(raised, field);
        Py_DECREF(field);
    }
    return plain;
}

/* Whether a model's dump is just its fields. Such a model is read from its __dict__,
 * without a copy and without running Python code. LangChain's messages and Documents are
 * such models. */
static bool dumps_its_fields(rl_raised *raised, PyTypeObject *type)
{
    PyObject *owner = (PyObject *)type;
    PyObject *decorators = attribute(raised, owner, "__pydantic_decorators__");
    PyObject *fields = attribute(raised, owner, "__pydantic_fields__");
    bool plain = decorators != NULL && fields != NULL && PyDict_Check(fields) &&
                 is_empty(raised, decorators, "field_serializers") &&
                 is_empty(raised, decorators, "model_serializers") &&
                 is_empty(raised, decorators, "computed_fields") &&
                 is_empty(raised, owner, "__pydantic_root_model__") &&
                 fields_are_plain(raised, fields);

    Py_XDECREF(fields);
    Py_XDECREF(decorators);
    return plain;
}

/* How a pydantic model is read. */
static rl_kind_of_value kind_of_model(rl_raised *raised, PyTypeObject *type)
{
    PyObject *dump = attribute(raised, (PyObject *)type, "model_dump");
    rl_kind_of_value kind = dump != NULL ? RL_AS_OWN_DUMP : RL_AS_OLD_DUMP;

    if (dump != NULL && text_is(raised, dump, "__module__", "pydantic.main")) {
        kind = dumps_its_fields(raised, type) ? RL_AS_VARS : RL_AS_DUMP;
    }
    Py_XDECREF(dump);
    return kind;
}

/* Classifies CPython's built-in types and their subclasses. */
static bool classify_builtin(rl_raised *raised, PyTypeObject *type,
                             rl_kind_of_value *kind)
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
        *kind = iterates_as_dict(raised, type) ? RL_AS_DICT : RL_AS_MAPPING;
        return true;
    }
    return false;
}

static rl_kind_of_value classify(rl_state *state, rl_raised *raised, PyTypeObject *type,
                                 PyObject **fields)
{
    rl_kind_of_value kind = RL_AS_TYPE_NAME;
    int is_mapping;

    if (descends_from(raised, type, "enum", "Enum")) {
        return RL_AS_VALUE;
    }
    if (PyType_IsSubtype(type, &PyTuple_Type) &&
        (*fields = field_names(raised, type)) != NULL) {
        return RL_AS_FIELDS;
    }
    if (classify_builtin(raised, type, &kind)) {
        return kind;
    }
    for (size_t i = 0; i < sizeof known_types / sizeof *known_types; i++) {
        const known_type *known = &known_types[i];

        if (descends_from(raised, type, known->module, known->name)) {
            return known->kind == RL_AS_DUMP ? kind_of_model(raised, type) : known->kind;
        }
    }
    if ((*fields = field_names(raised, type)) != NULL) {
        return RL_AS_FIELDS;
    }
    is_mapping = PyObject_IsSubclass((PyObject *)type, state->mapping);
    rl_raised_absorb(raised);
    if (is_mapping == 1) {
        return RL_AS_MAPPING;
    }
    return has_attribute(raised, type, "shape") && has_attribute(raised, type, "dtype")
               ? RL_AS_SUMMARY /* a tensor, or another array */
               : RL_AS_TYPE_NAME;
}

rl_kind_of_value rl_convert_kind(rl_state *state, rl_raised *raised, PyTypeObject *type,
                                 PyObject **fields)
{
    int kind = RL_AS_TYPE_NAME;

    *fields = NULL;
    if (!rl_type_cache_find(&state->kinds, type, &kind, fields)) {
        Py_INCREF(type); /* its code may give the value another class */
        kind = classify(state, raised, type, fields);
        if (!rl_raised_any(raised)) { /* else its attributes may not have been read */
            rl_type_cache_add(&state->kinds, type, kind, *fields);
        }
        Py_DECREF(type);
    }
    return (rl_kind_of_value)kind;
}

PyObject *rl_convert_dump(PyObject *model, rl_kind_of_value kind)
{
    const char *name = kind == RL_AS_OLD_DUMP ? "dict" : "model_dump";
    PyObject *method = PyObject_GetAttrString(model, name), *dump = NULL;
    PyObject *args = method != NULL ? PyTuple_New(0) : NULL, *options = NULL;

    if (args != NULL && kind != RL_AS_OLD_DUMP && kind != RL_AS_OWN_DUMP) {
        options = Py_BuildValue("{sO}", "warnings", Py_False);
    }
    if (args != NULL && !PyErr_Occurred()) {
        dump = PyObject_Call(method, args, options);
    }
    Py_XDECREF(options);
    Py_XDECREF(args);
    Py_XDECREF(method);
    return dump;
}

PyObject *rl_convert_name(rl_raised *raised, PyObject *value, rl_kind_of_value kind)
{
    PyObject *named = Py_NewRef(kind == RL_AS_NAME ? value : (PyObject *)Py_TYPE(value));
    PyObject *module = NULL, *name = NULL, *text = NULL;

    if (PyModule_Check(named)) {
        name = PyModule_GetNameObject(named);
        text = name != NULL ? PyUnicode_FromFormat("<%U>", name) : NULL;
    } else {
        name = PyObject_GetAttrString(named, "__qualname__");
        /* methods of built-in types have no module */
        module = name != NULL ? attribute(raised, named, "__module__") : NULL;
        if (module != NULL && PyUnicode_Check(module)) {
            text = PyUnicode_FromFormat("<%U.%S>", module, name);
        } else if (name != NULL) {
            text = PyUnicode_FromFormat("<%S>", name);
        }
    }
    Py_XDECREF(module);
    Py_XDECREF(name);
    Py_DECREF(named);
    return text;
}
