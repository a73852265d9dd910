/* What a fork does to the core: every part that holds a lock, a database or a thread joins
 * as a member, and is told before a fork and after it, on both sides.
 *
 * Why: a lock that another thread holds stays locked in the child for good; a SQLite file
 * that is open over a fork loses the child's commits without an error (its table of open
 * files and locks is inherited, the locks are not); what the child says to a server comes
 * out of its parent's connection.
 * Threads: any. State: the list of members, of the process, kept by pthread_atfork.
 * Ownership: a member belongs to whoever joins it, and leaves before it is freed.
 */
#ifndef RL_FORK_H
#define RL_FORK_H

#include <stdbool.h>

typedef struct rl_fork_member {
    struct rl_fork_member *next, *prev;
    void (*prepare)(void *ctx); /* takes its locks, closes its files; in every process */
    void (*parent)(void *ctx);  /* gives the locks back */
    void (*child)(void *ctx);   /* the same, and forgets what belongs to the parent */
    void *ctx;
} rl_fork_member;

/* Joins. Who joined last is prepared first, so before what it builds upon. */
void rl_fork_join(rl_fork_member *member);

/* Leaves. `at_last` (or NULL) is called with the member's ctx while no fork can happen: what the
 * member was told of goes away there. */
void rl_fork_leave(rl_fork_member *member, void (*at_last)(void *ctx));

/* Whether a fork is waiting for locks: who holds one and waits for something that may take
 * long gives it back, and goes on when this is false again. */
bool rl_fork_pending(void);

/* Waits a moment if a fork is pending, so that it gets the lock. */
void rl_fork_yield(void);

/* How many forks lie between this process and the one that loaded the library. */
unsigned rl_fork_generation(void);

#endif
