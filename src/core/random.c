/* Random bytes of the kernel. See random.h. */
#include "core/random.h"

#include <errno.h>
#include <sys/random.h>
#include <sys/types.h>

#ifdef __linux__
bool rl_random_bytes(void *to, size_t len, bool wait)
{
    ssize_t got;

    do {
        got = getrandom(to, len, wait ? 0 : GRND_NONBLOCK);
    } while (got < 0 && errno == EINTR);
    return got == (ssize_t)len;
}
#else
bool rl_random_bytes(void *to, size_t len, bool wait)
{
    (void)wait; /* getentropy never does */
    return getentropy(to, len) == 0;
}
#endif
