/* Makes fork() safe under AddressSanitizer. Its run-time (GCC 12's, and LLVM's before 17)
 * does not take its own locks before a fork: if another thread is within malloc, starts
 * or ends at that moment, the child waits forever for a lock that no thread releases.
 *
 * This library is preloaded before libasan, between the program and the run-time's
 * interceptors, and delays a fork until no other thread is within them. The run-time
 * accepts that with verify_asan_link_order=0.
 *
 * Threads: any. The library is not instrumented, as it is called before the run-time is
 * ready.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* Other models of thread-local storage call functions that the run-time intercepts. */
#define THREAD_LOCAL static _Thread_local __attribute__((tls_model("initial-exec")))

/* Threads pass in and out. A fork closes the gate, and waits until no thread is
 * inside. */
struct gate {
    atomic_bool closed;
    atomic_uint inside;
};

/* For threads that start, or are created, or end. They also allocate, so that a fork must
 * close this gate before `memory`. */
static struct gate changes;
static struct gate memory;   /* for threads that allocate or free */
THREAD_LOCAL unsigned depth; /* nesting of such calls; the outermost is inside `memory` */

/* A key whose destructor runs at a thread's end. Destructors run in 4 rounds, each in the
 * order in which the keys were created. The run-time's destructor does its work in the
 * last round, and its key is older: so ours passes in in the third round and out in the
 * fourth. The key is set at a thread's first allocation, which the run-time makes itself
 * when it asks for the thread's stack. */
static pthread_key_t ending;
static atomic_bool ending_made;
THREAD_LOCAL bool ending_set;

static const char rounds[] = "1234"; /* the value of `ending` points to the next */

static void pass_in(struct gate *gate)
{
    atomic_fetch_add(&gate->inside, 1);
    while (atomic_load(&gate->closed)) {
        atomic_fetch_sub(&gate->inside, 1);
        while (atomic_load(&gate->closed)) {
            sched_yield();
        }
        atomic_fetch_add(&gate->inside, 1);
    }
}

static void pass_out(struct gate *gate)
{
    atomic_fetch_sub(&gate->inside, 1);
}

/* Closes the gate, and waits until only the caller is inside, `own` times. */
static void close_gate(struct gate *gate, unsigned own)
{
    while (atomic_exchange(&gate->closed, true)) { /* another fork has closed it */
        sched_yield();
    }
    while (atomic_load(&gate->inside) > own) {
        sched_yield();
    }
}

static void open_gate(struct gate *gate)
{
    atomic_store(&gate->closed, false);
}

static void begin_call(void)
{
    if (depth++ == 0) {
        pass_in(&memory);
        if (!ending_set && atomic_load(&ending_made)) {
            ending_set = true;
            pthread_setspecific(ending, rounds);
        }
    }
}

static void end_call(void)
{
    if (--depth == 0) {
        pass_out(&memory);
    }
}

#define WRAP(type, name, parameters, arguments)  \
    extern type __interceptor_##name parameters; \
    extern type name parameters;                 \
    type name parameters                         \
    {                                            \
        type result;                             \
                                                 \
        begin_call();                            \
        result = __interceptor_##name arguments; \
        end_call();                              \
        return result;                           \
    }

WRAP(void *, malloc, (size_t size), (size))
WRAP(void *, calloc, (size_t count, size_t size), (count, size))
WRAP(void *, realloc, (void *old, size_t size), (old, size))
WRAP(void *, reallocarray, (void *old, size_t count, size_t size), (old, count, size))
WRAP(void *, memalign, (size_t align, size_t size), (align, size))
WRAP(void *, aligned_alloc, (size_t align, size_t size), (align, size))
WRAP(int, posix_memalign, (void **out, size_t align, size_t size), (out, align, size))
WRAP(char *, strdup, (const char *text), (text))
WRAP(char *, __strdup, (const char *text), (text))
WRAP(char *, strndup, (const char *text, size_t size), (text, size))
WRAP(char *, __strndup, (const char *text, size_t size), (text, size))

extern void __interceptor_free(void *old);
extern void free(void *old);

void free(void *old)
{
    begin_call();
    __interceptor_free(old);
    end_call();
}

extern int __interceptor_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
                                        void *(*start)(void *), void *arg);

/* Returns when the run-time has started the thread. */
int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *),
                   void *arg)
{
    int rc;

    pass_in(&changes);
    rc = __interceptor_pthread_create(thread, attr, start, arg);
    pass_out(&changes);
    return rc;
}

static void end_thread(void *value)
{
    const char *round = value;

    if (*round == '3') {
        pass_in(&changes);
    }
    if (*round == '4') {
        pass_out(&changes);
    } else {
        pthread_setspecific(ending, round + 1);
    }
}

static void before_fork(void)
{
    close_gate(&changes, 0);
    close_gate(&memory, depth > 0);
    depth++; /* this thread may allocate during the fork */
}

static void after_fork_in_parent(void)
{
    depth--;
    open_gate(&memory);
    open_gate(&changes);
}

static void after_fork_in_child(void)
{
    atomic_store(&changes.inside, 0); /* the other threads are in the parent */
    atomic_store(&memory.inside, depth > 1);
    after_fork_in_parent();
}

/* Registers before all others: so before_fork runs last before a fork, and the others run
 * first after it. */
__attribute__((constructor)) static void begin(void)
{
    extern void __asan_init(void);

    __asan_init(); /* creates its key first */
    if (pthread_key_create(&ending, end_thread) == 0) {
        atomic_store(&ending_made, true);
    }
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}
