/* Detects network file systems by their type. See filesystem.h.
 *
 * Source of the numbers: statfs(2) and the kernel's include/uapi/linux/magic.h. FUSE is
 * allowed, as it may be a local disk.
 */
#include "store/sqlite/filesystem.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#if defined(__linux__)
#include <sys/vfs.h>

static const struct {
    unsigned long type;
    const char *name;
} network[] = {
    {0x6969, "NFS"},        {0x517B, "SMB"},      {0xFF534D42, "CIFS (SMB)"},
    {0xFE534D42, "SMB2"},   {0x5346414F, "AFS"},  {0x6B414653, "AFS"},
    {0x564C, "NCP"},        {0x73757245, "Coda"}, {0x00C36400, "Ceph"},
    {0x0BD00BD0, "Lustre"}, {0x47504653, "GPFS"}, {0x7461636F, "OCFS2"},
    {0xAAD7AAEA, "PanFS"},
};

static const char *network_name(const char *folder)
{
    struct statfs info;

    if (statfs(folder, &info) != 0) {
        return NULL; /* opening the file will report the error */
    }
    for (size_t i = 0; i < sizeof network / sizeof *network; i++) {
        if (((unsigned long)info.f_type & 0xFFFFFFFF) == network[i].type) {
            return network[i].name;
        }
    }
    return NULL;
}
#else
static const char *network_name(const char *folder)
{
    (void)folder;
    return NULL;
}
#endif

rl_status rl_filesystem_check(const char *path, rl_err *err)
{
    char folder[4096];
    const char *slash = strrchr(path, '/'), *name;
    rl_status status = RL_OK;

    if (slash == NULL) {
        snprintf(folder, sizeof folder, ".");
    } else {
        snprintf(folder, sizeof folder, "%.*s", (int)(slash - path + 1), path);
    }
    name = network_name(folder);
    if (name != NULL) {
        status = rl_err_set(err, RL_CONFIG,
                            "SQLite file %s is on a network file system (%s), where WAL "
                            "mode does not work: give a path on a local disk in "
                            "RUNLOG_SQLITE_PATH",
                            path, name);
    }
    return status;
}
