/* SQLite's own locks over a fork.
 *
 * The library has a few mutexes of the process (memory statistics, page cache, open files).
 * Another thread of the program may be inside of SQLite at a fork, through Python's sqlite3
 * module for one: the child would wait for ever for what that thread held.
 * Threads: any. State: one member of core/fork.h, of the process.
 */
#ifndef RL_SQLITE_LOCKS_H
#define RL_SQLITE_LOCKS_H

/* Takes them at forks from now on, after whoever joins later has closed its files. */
void rl_sqlite_locks_join(void);

#endif
