/* What the indexer's thread does in a round, row by row. Only that thread calls these.
 *
 * Each takes some rows of one state, does what is to be done about them, and writes down what
 * has become of them. True when rows were taken and something was done, so that there may be
 * more; false when there were none, or something has failed.
 */
#ifndef RL_INDEX_ROUND_H
#define RL_INDEX_ROUND_H

#include "record/indexer.h"

bool rl_index_embed(rl_indexer *indexer);  /* pending → embedded */
bool rl_index_upsert(rl_indexer *indexer); /* embedded → done */
bool rl_index_remove(rl_indexer *indexer); /* deleted → no row */

#endif
