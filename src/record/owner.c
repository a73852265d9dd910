/* Owners of runs and leases. See owner.h. */
#include "record/owner.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define HOST 64
#define NO_START 0

/* The start time of a process: field 22 of /proc/PID/stat (proc(5)). NO_START when there
 * is none, or when it has exited and was not reaped yet (state Z or X in field 3). */
static unsigned long long start_of(long pid)
{
    unsigned long long start = NO_START;
    char path[40], text[1024];
    const char *at;
    size_t len;
    FILE *file;

    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    file = fopen(path, "r");
    if (file == NULL) {
        return NO_START;
    }
    len = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[len] = '\0';
    at = strrchr(text, ')'); /* the name before it may hold spaces and ')' */
    if (at != NULL && (strncmp(at, ") Z", 3) == 0 || strncmp(at, ") X", 3) == 0)) {
        return NO_START;
    }
    for (int field = 2; at != NULL && field < 22; field++) {
        at = strchr(at + 1, ' ');
    }
    if (at != NULL) {
        start = strtoull(at, NULL, 10);
    }
    return start;
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
        *at = *at == ' ' ? '_' : *at;
    }
    space[len > 0 ? len : 0] = '\0';
    snprintf(out, HOST, "%.40s%.20s", name, space);
}

void rl_owner_self(char out[RL_OWNER_TEXT])
{
    char host[HOST];
    long pid = (long)getpid();

    host_name(host);
    snprintf(out, RL_OWNER_TEXT, "%s %ld %llu", host, pid, start_of(pid));
}

bool rl_owner_has_exited(const char *owner)
{
    char host[HOST];
    size_t len;
    unsigned long long start;
    char *end;
    long pid;

    host_name(host);
    len = strlen(host);
    if (strncmp(owner, host, len) != 0 || owner[len] != ' ') {
        return false;
    }
    pid = strtol(owner + len, &end, 10);
    start = strtoull(end, NULL, 10);
    if (pid <= 0) {
        return false;
    }
    if (kill((pid_t)pid, 0) != 0 && errno == ESRCH) {
        return true;
    }
    return start != NO_START && start_of(pid) != start;
}
