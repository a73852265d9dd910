/* Fault injection into the system calls of runlog's VFS, as fault_help.h does it for
 * SQLite's. A program includes this before that, and has the linker wrap the calls:
 *
 * LINK: -Wl,--wrap=open -Wl,--wrap=fstat -Wl,--wrap=ftruncate -Wl,--wrap=fcntl
 * LINK: -Wl,--wrap=pread -Wl,--wrap=pwrite -Wl,--wrap=mmap
 */
#ifndef RUNLOG_TESTS_FAULT_FILES_H
#define RUNLOG_TESTS_FAULT_FILES_H

#include <sys/stat.h>
#include <sys/types.h>

int __real_open(const char *path, int flags, ...);
int __real_fstat(int fd, struct stat *info);
int __real_ftruncate(int fd, off_t size);
int __real_fcntl(int fd, int command, ...);
ssize_t __real_pread(int fd, void *data, size_t size, off_t at);
ssize_t __real_pwrite(int fd, const void *data, size_t size, off_t at);
void *__real_mmap(void *at, size_t size, int rights, int flags, int fd, off_t from);

int __wrap_open(const char *path, int flags, ...);
int __wrap_fstat(int fd, struct stat *info);
int __wrap_ftruncate(int fd, off_t size);
int __wrap_fcntl(int fd, int command, ...);
ssize_t __wrap_pread(int fd, void *data, size_t size, off_t at);
ssize_t __wrap_pwrite(int fd, const void *data, size_t size, off_t at);
void *__wrap_mmap(void *at, size_t size, int rights, int flags, int fd, off_t from);

#define FAULT_REAL(name) __real_##name
#include "fault_help.h"

int __wrap_open(const char *path, int flags, ...)
{
    va_list args;
    int mode;

    va_start(args, flags);
    mode = (flags & O_CREAT) != 0 ? va_arg(args, int) : 0;
    va_end(args);
    return fault_strikes(FAULT_SYSTEM) ? -1 : fault_open(path, flags, mode);
}

int __wrap_fstat(int fd, struct stat *info)
{
    return fault_fstat(fd, info);
}

int __wrap_ftruncate(int fd, off_t size)
{
    return fault_truncate(fd, size);
}

int __wrap_fcntl(int fd, int command, ...)
{
    va_list args;
    void *arg;

    va_start(args, command);
    arg = va_arg(args, void *);
    va_end(args);
    return fault_fcntl(fd, command, arg);
}

ssize_t __wrap_pread(int fd, void *data, size_t size, off_t at)
{
    return fault_pread(fd, data, size, at);
}

ssize_t __wrap_pwrite(int fd, const void *data, size_t size, off_t at)
{
    return fault_pwrite(fd, data, size, at);
}

void *__wrap_mmap(void *at, size_t size, int rights, int flags, int fd, off_t from)
{
    return fault_mmap(at, size, rights, flags, fd, from);
}

#endif
