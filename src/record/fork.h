/* What a fork leaves behind. A database that is open at a fork can't be used in the child:
 * SQLite would lose the child's commits without an error (its table of open files and locks
 * is inherited, the locks are not), and whatever the child says to PostgreSQL comes from the
 * parent's connection. So the child is refused, before anything is acknowledged.
 *
 * Threads: any. State: counters of the process, kept by a handler of pthread_atfork.
 */
#ifndef RL_FORK_H
#define RL_FORK_H

#include <stdbool.h>

/* Registers the handler; needed once before the others, harmless after that. */
void rl_fork_watch(void);

/* How many forks lie between this process and the one that loaded the library. */
unsigned rl_fork_generation(void);

/* A SQLite file was opened or closed in this process. */
void rl_fork_opened_sqlite(void);
void rl_fork_closed_sqlite(void);

/* Whether a SQLite file was open when this process was forked. */
bool rl_fork_inherited_sqlite(void);

#endif
