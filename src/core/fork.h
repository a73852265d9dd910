/* Forks. Every part that holds a lock, a database or a thread joins as a member; its
 * functions are called before a fork, and after it in the parent and in the child.
 *
 * Without that, a lock that another thread holds at the fork would stay locked in the
 * child; a SQLite file that is open across a fork would lose the child's commits without
 * an error (the child shares the parent's locks on it, or believes that it has them); and
 * the child would write into its parent's connections to servers.
 * Threads: any. State: one list of members per process.
 * Ownership: the caller owns a member, which must leave before it is freed.
 */
#ifndef RL_FORK_H
#define RL_FORK_H

#include <stdbool.h>

typedef struct rl_fork_member {
    struct rl_fork_member *next, *prev;
    void (*prepare)(void *ctx); /* before: takes the member's locks, closes its files */
    void (*parent)(void *ctx);  /* after: releases the locks */
    void (*child)(void *ctx); /* after: the same, and drops what belongs to the parent */
    void *ctx;
} rl_fork_member;

/* Adds a member. The last to join is prepared first: a member may use those that joined
 * before it. */
void rl_fork_join(rl_fork_member *member);

/* Removes a member. Calls `at_last` (or NULL) with the member's ctx while no fork can
 * happen, to free what the member's functions use. */
void rl_fork_leave(rl_fork_member *member, void (*at_last)(void *ctx));

/* Whether a fork is waiting for locks. A thread that holds one during a long wait should
 * release it, and take it again when this is false. */
bool rl_fork_pending(void);

/* Waits 0.2 ms if a fork is pending, so that the fork gets the lock. */
void rl_fork_yield(void);

/* The number of forks between the process that loaded the library and this one. */
unsigned rl_fork_generation(void);

#endif
