/* The owner of a run or of a lease: a text that names a process. "host pid start boot":
 *
 * host   the host's name with the namespace of its process ids
 * pid    the process id in that namespace
 * start  when the process started (ticks since boot), because process ids are reused
 * boot   which boot of which kernel that is: 32 hexadecimal digits, or "-" if unknown
 *
 * A process of the same boot and namespace can be checked, whatever its host is called.
 * Any other can only be checked by its heartbeats in the database (beat.h). Owners of runs
 * from before migration 007 lack the boot; they are checked by their host's name.
 *
 * Threads: any.
 */
#ifndef RL_OWNER_H
#define RL_OWNER_H

#include <stdbool.h>

#define RL_OWNER_TEXT 128 /* bytes, with the NUL */

typedef enum rl_owner_state {
    RL_OWNER_RUNS,
    RL_OWNER_EXITED,
    RL_OWNER_ELSEWHERE, /* not known: it can't be checked from here */
} rl_owner_state;

/* The calling process; a forked child has its own text. */
void rl_owner_self(char out[RL_OWNER_TEXT]);

/* Whether the process that an owner, or the holder of a lease, names still runs. */
rl_owner_state rl_owner_check(const char *owner);

#endif
