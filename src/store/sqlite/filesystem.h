/* Whether a folder can hold a SQLite file in WAL mode. */
#ifndef RL_FILESYSTEM_H
#define RL_FILESYSTEM_H

#include "core/err.h"

/* RL_CONFIG where the folder of `path` lies on a network file system: WAL needs memory that
 * all processes share, so one machine. RL_OK also where nothing can be told. Any thread. */
rl_status rl_filesystem_check(const char *path, rl_err *err);

#endif
