/* The exceptions that nodes of one graph have ended with, so that the traceback of one that
 * passes through several nodes is kept once. See graph_state.h.
 *
 * An exception is known by a hash: its address alone may be that of a later one, and the
 * graph keeps no object of Python's alive. It is looked for only on its way outwards, from
 * a node to the one around it, and to the run: so a later exception that happens to have
 * the same hash, as that of another attempt may, has a traceback of its own. */
#include "core/alloc.h"
#include "record/graph/graph_state.h"

#define MAX_ERRORS 8192 /* then all are forgotten: a traceback may be kept twice */

static uint64_t hash_of(int64_t node, uint64_t key)
{
    uint64_t mixed = key ^ (uint64_t)(node + 1) * UINT64_C(0x9E3779B97F4A7C15);

    return mixed ^ mixed >> 32;
}

void rl_graph_note_error(rl_graph *graph, int64_t node, uint64_t key)
{
    uint64_t hash = hash_of(node, key);
    rl_link *link;

    if (key == 0 || rl_table_first(&graph->errors, hash) != NULL) {
        return;
    }
    if (graph->errors.count >= MAX_ERRORS) {
        rl_graph_free_errors(graph);
    }
    link = rl_malloc(sizeof *link);
    if (link == NULL || !rl_table_add(&graph->errors, link, hash)) {
        rl_free(link); /* not worth a run: the traceback may be kept twice */
        return;
    }
    graph->extra += sizeof *link;
}

bool rl_graph_knows_error(const rl_graph *graph, int64_t node, const rl_error_keys *error)
{
    bool known = false;

    for (size_t i = 0; i < error->count && !known; i++) {
        known = rl_table_first(&graph->errors, hash_of(node, error->list[i])) != NULL;
    }
    return known;
}

void rl_graph_free_errors(rl_graph *graph)
{
    rl_link *link;
    size_t at = 0;

    while ((link = rl_table_any(&graph->errors, &at)) != NULL) {
        rl_table_remove(&graph->errors, link);
        rl_free(link);
        graph->extra -= sizeof *link;
    }
    rl_table_free(&graph->errors);
}
