/* The nodes that have begun, by their namespaces. LangChain gives the namespace to all that
 * runs in a node, also where it cuts the line of parents: at a chain or a model that gets
 * the handler once more, in callbacks of its own.
 * Only the newest are known, so that this takes no memory in a long run.
 * Threads: with the GIL. Exceptions are absorbed.
 */
#ifndef RL_PY_NODES_H
#define RL_PY_NODES_H

#include "py/base/raised.h"
#include "py/handler/handler_data.h"

/* Notes the start of a node, by the arguments of its callback. `ns` is a str, or NULL;
 * `root` is the key of the graph's run. */
void rl_nodes_add(rl_state *state, rl_handler *self, rl_raised *raised, PyObject *ns,
                  rl_key root, PyObject *kwargs);

/* Whether the node of a namespace is known; then *key is the key of its run, and *root that
 * of the graph's. */
bool rl_nodes_find(const rl_state *state, const rl_handler *self, rl_raised *raised,
                   PyObject *ns, rl_key *key, rl_key *root);

/* The same of the node around the one of a namespace; *around is the part of `ns` that is
 * the namespace of that node. */
bool rl_nodes_find_around(const rl_state *state, const rl_handler *self,
                          rl_raised *raised, rl_text ns, rl_key *key, rl_key *root,
                          rl_text *around);

/* Its metadata and tags; new references, or NULL. */
void rl_nodes_inherited(const rl_handler *self, rl_raised *raised, PyObject *ns,
                        PyObject **metadata, PyObject **tags);

#endif
