/* The options of a recorder.
 *
 * Ownership: a config owns its texts (rl_malloc, or NULL) and lists. Threads: read-only once a
 * recorder has it.
 */
#ifndef RL_CONFIG_H
#define RL_CONFIG_H

#include "core/redact.h"
#include "store/migrate.h"
#include "store/store.h"

typedef struct rl_config {
    char *postgres_dsn; /* NULL: SQLite is the store */
    char *sqlite_path;  /* the store's file; with a DSN the journal's */
    rl_redact redact;
    size_t max_payload;                /* bytes of JSON after which a payload is cut */
    rl_durability log_runs;            /* of log_run */
    rl_durability graph_runs;          /* of the LangGraph handler */
    uint64_t timeout_ns;               /* how long PostgreSQL may take to answer */
    unsigned pool;                     /* connections to PostgreSQL for reads */
    rl_migration_set sqlite, postgres; /* the second only with a DSN */
} rl_config;

void rl_config_free(rl_config *config); /* what it owns; leaves it empty */

#endif
