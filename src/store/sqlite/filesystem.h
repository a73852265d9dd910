/* Whether a folder can hold a SQLite file in WAL mode. */
#ifndef RL_FILESYSTEM_H
#define RL_FILESYSTEM_H

#include "core/err.h"

/* RL_CONFIG if the folder of `path` is on a network file system: WAL mode needs memory
 * that all processes share, which only one machine has. RL_OK also if the type of the
 * file system is unknown. Any thread. */
rl_status rl_filesystem_check(const char *path, rl_err *err);

#endif
