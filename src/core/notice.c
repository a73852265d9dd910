/* Notices. See notice.h. */
#include "core/notice.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void rl_notices_init(rl_notices *notices)
{
    memset(notices, 0, sizeof *notices);
    pthread_mutex_init(&notices->lock, NULL);
}

void rl_notices_destroy(rl_notices *notices)
{
    pthread_mutex_destroy(&notices->lock);
}

void rl_notices_add(rl_notices *notices, rl_notice_level level, const char *format, ...)
{
    unsigned count;
    va_list args;

    if (notices == NULL) {
        return;
    }
    pthread_mutex_lock(&notices->lock);
    count = atomic_load(&notices->count);
    if (count < RL_NOTICES) {
        notices->list[count].level = level;
        va_start(args, format);
        vsnprintf(notices->list[count].text, sizeof notices->list[count].text, format,
                  args);
        va_end(args);
        atomic_store(&notices->count, count + 1);
    }
    pthread_mutex_unlock(&notices->lock);
}

bool rl_notices_take(rl_notices *notices, rl_notice *notice)
{
    unsigned count;

    if (atomic_load_explicit(&notices->count, memory_order_relaxed) == 0) {
        return false;
    }
    pthread_mutex_lock(&notices->lock);
    count = atomic_load(&notices->count);
    if (count > 0) {
        *notice = notices->list[0];
        memmove(notices->list, notices->list + 1, (count - 1) * sizeof *notice);
        atomic_store(&notices->count, count - 1);
    }
    pthread_mutex_unlock(&notices->lock);
    return count > 0;
}
