/* Makes a fork safe under AddressSanitizer, whose run-time (GCC 12's, and LLVM's before 17)
 * does not hold its own locks over one: where another thread is inside of malloc then, or
 * begins or ends, the child waits for ever for a lock that nobody gives back.
 *
 * It is preloaded before libasan, so that it stands between the program and the run-time's
 * interceptors: a fork waits until no other thread is inside of them. The run-time has to
 * be told that it is not the first (verify_asan_link_order=0).
 *
 * Threads: any. It is not instrumented, as it is called before the run-time is ready.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* The run-time intercepts what other kinds of thread-local storage call. */
#define THREAD_LOCAL static _Thread_local __attribute__((tls_model("initial-exec")))

/* Threads pass in and out, until a fork closes it and those inside have come out. */
struct gate {
    atomic_bool closed;
    atomic_uint inside;
};

/* Those that begin, or are made, or end; they allocate meanwhile, so that `memory` may be
 * closed only when none is inside here. */
static struct gate changes;
static struct gate memory;   /* those that allocate or free */
THREAD_LOCAL unsigned depth; /* of such calls; the outermost is inside of `memory` */

/* Tells of a thread's end. Destructors of such keys run in 4 rounds, in each in the order in
 * which the keys were made. The run-time's does its work in the last one, so ours, which was
 * made later, brackets it by the last two. It is set at a thread's first allocation, which is
 * the run-time's own: it asks for the thread's stack. */
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

/* `own`: how often the caller is inside itself. */
static void close_gate(struct gate *gate, unsigned own)
{
    while (atomic_exchange(&gate->closed, true)) { /* by another fork */
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

/* Comes back when the run-time has begun with the thread. */
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
    depth++; /* so that this thread passes */
}

static void after_fork_in_parent(void)
{
    depth--;
    open_gate(&memory);
    open_gate(&changes);
}

static void after_fork_in_child(void)
{
    atomic_store(&changes.inside, 0); /* the others are in the parent */
    atomic_store(&memory.inside, depth > 1);
    after_fork_in_parent();
}

/* Before anyone else asks to be told of forks: so it is the last before one, and the first
 * behind it. */
__attribute__((constructor)) static void begin(void)
{
    extern void __asan_init(void);

    __asan_init(); /* which makes its key */
    if (pthread_key_create(&ending, end_thread) == 0) {
        atomic_store(&ending_made, true);
    }
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}
