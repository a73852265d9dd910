/* A place where one thread waits until another wakes it, once. The waiter may free the
 * place as soon as its wait returns.
 *
 * A semaphore needs no lock that the woken thread would have to take. macOS has no
 * unnamed semaphores; a mutex and a condition do the same there.
 */
#ifndef RL_PARKING_H
#define RL_PARKING_H

#if defined(__APPLE__)
#include <pthread.h>
#include <stdbool.h>

typedef struct rl_parking {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool woken;
} rl_parking;

static inline void rl_parking_init(rl_parking *place)
{
    pthread_mutex_init(&place->lock, NULL);
    pthread_cond_init(&place->changed, NULL);
    place->woken = false;
}

static inline void rl_parking_wait(rl_parking *place)
{
    pthread_mutex_lock(&place->lock);
    while (!place->woken) {
        pthread_cond_wait(&place->changed, &place->lock);
    }
    pthread_mutex_unlock(&place->lock);
}

static inline void rl_parking_wake(rl_parking *place)
{
    pthread_mutex_lock(&place->lock);
    place->woken = true;
    pthread_cond_signal(&place->changed);
    pthread_mutex_unlock(&place->lock);
}

static inline void rl_parking_destroy(rl_parking *place)
{
    pthread_cond_destroy(&place->changed);
    pthread_mutex_destroy(&place->lock);
}
#else
#include <errno.h>
#include <semaphore.h>

typedef sem_t rl_parking;

static inline void rl_parking_init(rl_parking *place)
{
    sem_init(place, 0, 0);
}

static inline void rl_parking_wait(rl_parking *place)
{
    while (sem_wait(place) != 0 && errno == EINTR) {
    }
}

static inline void rl_parking_wake(rl_parking *place)
{
    sem_post(place);
}

static inline void rl_parking_destroy(rl_parking *place)
{
    sem_destroy(place);
}
#endif

#endif
