/* The owner of a run or of a lease: a text that names a process, and that other processes
 * on the machine can check. "host pid start": the host's name with the namespace of its
 * process ids, the process id, and the start time (ticks since boot), because process ids
 * are reused.
 *
 * Threads: any.
 */
#ifndef RL_OWNER_H
#define RL_OWNER_H

#include <stdbool.h>

#define RL_OWNER_TEXT 128 /* bytes, with the NUL */

/* The calling process; a forked child has its own text. */
void rl_owner_self(char out[RL_OWNER_TEXT]);

/* Whether the owner is known to have exited: a process of this host that no longer runs.
 * False where that can't be known: another host, a container with other process ids. */
bool rl_owner_has_exited(const char *owner);

#endif
