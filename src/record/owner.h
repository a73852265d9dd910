/* Which process something belongs to, as a text that others on the machine can check.
 *
 * "host pid start": the host's name, and the process id with the time at which the process
 * was started (in ticks since boot), as ids are used again.
 */
#ifndef RL_OWNER_H
#define RL_OWNER_H

#include <stdbool.h>

#define RL_OWNER_TEXT 128 /* bytes, with the NUL */

/* This process, now: a child of a fork is another one. Any thread. */
void rl_owner_self(char out[RL_OWNER_TEXT]);

/* Whether the owner is known to be gone: a process of this host that no longer runs. False
 * where that can't be told: another host, a container with process ids of its own. */
bool rl_owner_has_exited(const char *owner);

#endif
