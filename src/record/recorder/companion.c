/* The companions of a recorder. See companion.h. */
#include "record/recorder/companion.h"

rl_status rl_companions_start(rl_companion *first, const rl_companion_host *host,
                              rl_err *err)
{
    rl_status status = RL_OK;

    for (; first != NULL && status == RL_OK; first = first->next) {
        status = first->ops->start(first, host, err);
    }
    return status;
}

void rl_companions_notify(rl_companion *first)
{
    for (; first != NULL; first = first->next) {
        first->ops->notify(first);
    }
}

bool rl_companions_have_work(rl_companion *first)
{
    bool any = false;

    for (; first != NULL && !any; first = first->next) {
        any = first->ops->has_work(first);
    }
    return any;
}

rl_status rl_companions_drain(rl_companion *first, uint64_t end, bool patient,
                              rl_err *err)
{
    rl_status status = RL_OK;

    for (; first != NULL && status == RL_OK; first = first->next) {
        status = first->ops->drain(first, end, patient, err);
    }
    return status;
}

bool rl_companions_stop(rl_companion *first, uint64_t end)
{
    bool ended = true;

    for (; first != NULL; first = first->next) {
        ended = first->ops->stop(first, end) && ended;
    }
    return ended;
}

void rl_companions_close(rl_companion *first)
{
    for (; first != NULL; first = first->next) {
        first->ops->close(first);
    }
}

void rl_companions_before_fork(rl_companion *first)
{
    for (; first != NULL; first = first->next) {
        first->ops->before_fork(first);
    }
}

void rl_companions_after_fork(rl_companion *first, bool in_child)
{
    for (; first != NULL; first = first->next) {
        first->ops->after_fork(first, in_child);
    }
}

void rl_companions_free(rl_companion *first)
{
    while (first != NULL) {
        rl_companion *next = first->next;

        first->ops->free(first);
        first = next;
    }
}

const rl_sqlite_hook *rl_companions_sqlite_hook(const rl_companion *first)
{
    while (first != NULL && first->sqlite_hook == NULL) {
        first = first->next;
    }
    return first != NULL ? first->sqlite_hook : NULL;
}

const rl_pg_hook *rl_companions_pg_hook(const rl_companion *first)
{
    while (first != NULL && first->pg_hook == NULL) {
        first = first->next;
    }
    return first != NULL ? first->pg_hook : NULL;
}

const rl_removal_hook *rl_companions_removal_hook(const rl_companion *first)
{
    while (first != NULL && first->removal_hook == NULL) {
        first = first->next;
    }
    return first != NULL ? first->removal_hook : NULL;
}
