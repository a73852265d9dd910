/* Which database a recorder writes to. See place.h. */
#include "record/recorder/place.h"

#include "core/buf.h"
#include "core/value.h"
#include "store/postgres/pg_dsn.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The path of a file through all links, also if only its folder exists. */
static bool add_path(const char *path, rl_buf *to)
{
    char real[PATH_MAX], folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t len = slash == NULL ? 0 : slash == path ? 1 : (size_t)(slash - path);

    if (realpath(path, real) != NULL) {
        rl_buf_add_text(to, real);
        return !to->failed;
    }
    if (len >= sizeof folder) {
        return false;
    }
    memcpy(folder, path, len);
    folder[len] = '\0';
    if (realpath(len > 0 ? folder : ".", real) == NULL) {
        return false;
    }
    rl_buf_add_text(to, real);
    rl_buf_add_text(to, real[1] != '\0' ? "/" : "");
    rl_buf_add_text(to, slash != NULL ? slash + 1 : path);
    return !to->failed;
}

bool rl_place_find(const rl_config *config, rl_place *place)
{
    bool file = config->postgres_dsn == NULL, known;
    struct stat info;
    rl_buf text;

    memset(place, 0, sizeof *place);
    rl_buf_init(&text, RL_BUF_MAX);
    rl_buf_add(&text, file ? "s" : "p", 1);
    known = file ? add_path(config->sqlite_path, &text)
                 : rl_pg_dsn_place(config->postgres_dsn, &text);
    if (known) {
        place->known = true;
        rl_value_hash(text.data, text.len, place->name);
    }
    rl_buf_free(&text);
    if (file && stat(config->sqlite_path, &info) == 0) {
        place->device = (uint64_t)info.st_dev;
        place->inode = (uint64_t)info.st_ino;
    }
    return !file || place->inode != 0;
}
