/* SQLite's global mutexes around a fork.
 *
 * The library has a few mutexes per process (memory statistics, page cache, open files).
 * At a fork another thread may hold one of them, for example in Python's sqlite3 module.
 * The child, which has no such thread, would then wait for that mutex for ever.
 * Threads: any. State: one member of core/fork.h per process.
 */
#ifndef RL_SQLITE_LOCKS_H
#define RL_SQLITE_LOCKS_H

/* From now on takes the mutexes at each fork, after the members of core/fork.h that join
 * later have closed their files. Idempotent. */
void rl_sqlite_locks_join(void);

#endif
