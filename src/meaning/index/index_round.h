/* What the indexer's threads do in a round, row by row. Only the thread of the stage calls these.
 *
 * Each takes some rows of one state, does what is to be done about them, and writes down what
 * has become of them. True when rows were taken and something was done, so that there may be
 * more; false when there were none, or something has failed.
 */
#ifndef RL_INDEX_ROUND_H
#define RL_INDEX_ROUND_H

#include "meaning/index/indexer.h"

bool rl_index_embed(rl_index_stage *stage);  /* pending → embedded */
bool rl_index_upsert(rl_index_stage *stage); /* embedded → done */
bool rl_index_remove(rl_index_stage *stage); /* deleted → no row */

#endif
