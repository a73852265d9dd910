/* The owner of a run or of a lease: a text that identifies a process, and that other
 * processes on the same machine can check.
 *
 * "host pid start": the host's name with the namespace of its process ids, the process
 * id, and the time at which the process started, in clock ticks since boot. The start
 * time tells two processes apart that had the same process id.
 */
#ifndef RL_OWNER_H
#define RL_OWNER_H

#include <stdbool.h>

#define RL_OWNER_TEXT 128 /* bytes, with the NUL */

/* Writes the owner text of the calling process; a forked child has its own. Any
 * thread. */
void rl_owner_self(char out[RL_OWNER_TEXT]);

/* Whether the owner is known to have exited: a process of this host that no longer runs.
 * False where this process can't find out: for another host, or a container with other
 * process ids. Any thread. */
bool rl_owner_has_exited(const char *owner);

#endif
