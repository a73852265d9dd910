/* Owners of runs and leases. See owner.h. */
#include "record/owner.h"

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define HOST 64
#define BOOT 33      /* bytes, with the NUL */
#define UNKNOWN "-"  /* a boot */
#define NO_START 0   /* of a process that can't be read */
#define SPACE "pid:" /* how the name of a namespace begins */

typedef struct process {
    bool ended; /* it has exited, and was not reaped yet */
    unsigned long long start;
} process;

static size_t read_file(const char *path, char *text, size_t size)
{
    FILE *file = fopen(path, "r");
    size_t len = 0;

    if (file != NULL) {
        len = fread(text, 1, size - 1, file);
        fclose(file);
    }
    text[len] = '\0';
    return len;
}

/* Reads /proc/PID/stat (proc(5)): field 3 is the state, field 22 the start time. */
static process read_process(const char *pid)
{
    process found = {.start = NO_START};
    char path[40], text[1024];
    const char *at;

    snprintf(path, sizeof path, "/proc/%s/stat", pid);
    (void)read_file(path, text, sizeof text);
    at = strrchr(text, ')'); /* the name before it may hold spaces and ')' */
    found.ended =
        at != NULL && (strncmp(at, ") Z", 3) == 0 || strncmp(at, ") X", 3) == 0);
    for (int field = 2; at != NULL && field < 22; field++) {
        at = strchr(at + 1, ' ');
    }
    if (at != NULL) {
        found.start = strtoull(at, NULL, 10);
    }
    return found;
}

/* The host's name with the namespace of its process ids: each container has its own. */
static void host_name(char out[HOST])
{
    char name[HOST] = "", space[HOST] = "";
    ssize_t len = readlink("/proc/self/ns/pid", space, sizeof space - 1);

    if (gethostname(name, sizeof name - 1) != 0) {
        name[0] = '\0';
    }
    for (char *at = name; *at != '\0'; at++) {
        *at = isspace((unsigned char)*at) ? '_' : *at;
    }
    space[len > 0 ? len : 0] = '\0';
    snprintf(out, HOST, "%.40s%.20s", name, space);
}

static void boot_id(char out[BOOT])
{
    char text[80];
    size_t len = 0;

    (void)read_file("/proc/sys/kernel/random/boot_id", text, sizeof text);
    for (const char *at = text; *at != '\0' && len < BOOT - 1; at++) {
        if (isxdigit((unsigned char)*at)) {
            out[len++] = *at;
        }
    }
    out[len] = '\0';
    if (len < BOOT - 1) {
        snprintf(out, BOOT, "%s", UNKNOWN);
    }
}

void rl_owner_self(char out[RL_OWNER_TEXT])
{
    char host[HOST], boot[BOOT];

    host_name(host);
    boot_id(boot);
    snprintf(out, RL_OWNER_TEXT, "%s %ld %llu %s", host, (long)getpid(),
             read_process("self").start, boot);
}

/* Whether /proc shows the process ids of this process's own namespace. */
static bool can_read_processes(void)
{
    char pid[24] = "", self[24];
    ssize_t len = readlink("/proc/self", pid, sizeof pid - 1);

    snprintf(self, sizeof self, "%ld", (long)getpid());
    return len > 0 && strcmp(pid, self) == 0;
}

static rl_owner_state check_process(long pid, unsigned long long start)
{
    bool exists = kill((pid_t)pid, 0) == 0 || errno != ESRCH;
    char text[24];
    process found = {.start = NO_START};

    if (exists && can_read_processes()) {
        snprintf(text, sizeof text, "%ld", pid);
        found = read_process(text);
    }
    /* another user's process may be hidden from this one: then its id must do */
    return !exists || found.ended ||
                   (start != NO_START && found.start != NO_START && found.start != start)
               ? RL_OWNER_EXITED
               : RL_OWNER_RUNS;
}

/* Whether an owner without a boot, from before migration 007, is of this host. */
static bool has_same_host(const char *owner, size_t len)
{
    char host[HOST];

    host_name(host);
    return len == strlen(host) && memcmp(owner, host, len) == 0;
}

/* Whether an owner is of this boot and of this namespace of process ids. */
static bool has_same_boot(const char *owner, const char *boot, size_t len)
{
    char own_host[HOST], own_boot[BOOT];
    const char *space = strstr(owner, SPACE), *own_space;

    host_name(own_host);
    boot_id(own_boot);
    own_space = strstr(own_host, SPACE);
    return len == BOOT - 1 && strlen(own_boot) == len &&
           memcmp(boot, own_boot, len) == 0 && space != NULL && own_space != NULL &&
           strncmp(space, own_space, strlen(own_space)) == 0 &&
           space[strlen(own_space)] == ' ';
}

rl_owner_state rl_owner_check(const char *owner)
{
    const char *host_end = strchr(owner, ' ');
    unsigned long long start;
    bool checkable;
    char *end;
    long pid;

    if (host_end == NULL) {
        return RL_OWNER_ELSEWHERE;
    }
    pid = strtol(host_end, &end, 10);
    start = strtoull(end, &end, 10);
    checkable = *end == ' ' ? has_same_boot(owner, end + 1, strcspn(end + 1, " "))
                            : has_same_host(owner, (size_t)(host_end - owner));
    return pid > 0 && checkable ? check_process(pid, start) : RL_OWNER_ELSEWHERE;
}
