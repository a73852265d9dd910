/* Which database a recorder writes to. Threads: any; may read the file system, but waits
 * for no server. */
#ifndef RL_PLACE_FIND_H
#define RL_PLACE_FIND_H

#include "record/graph/graph.h"
#include "record/recorder/config.h"

/* Finds out where the runs go. A file is known by its path, also through links, and once
 * it exists by its inode. False: call it again later, as the file does not exist yet. On
 * failure the place is that of no other recorder. */
bool rl_place_find(const rl_config *config, rl_place *place);

#endif
