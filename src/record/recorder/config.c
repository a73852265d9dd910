/* The options of a recorder. See config.h. */
#include "record/recorder/config.h"

#include "core/alloc.h"

#include <string.h>

void rl_config_free(rl_config *config)
{
    rl_migration_set_free(&config->sqlite);
    rl_migration_set_free(&config->postgres);
    rl_free(config->postgres_dsn);
    rl_free(config->read_dsn);
    rl_free(config->sqlite_path);
    rl_redact_free(&config->redact);
    memset(config, 0, sizeof *config);
}
