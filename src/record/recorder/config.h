/* The options of a recorder.
 *
 * Ownership: a config owns its texts (rl_malloc, or NULL) and lists. Threads: read-only
 * once a recorder has it.
 */
#ifndef RL_CONFIG_H
#define RL_CONFIG_H

#include "core/redact.h"
#include "store/migrate.h"
#include "store/store.h"

typedef struct rl_config {
    char *postgres_dsn; /* NULL: SQLite is the store */
    char *read_dsn;     /* with a DSN: of a replica that reads go to; NULL: none */
    char *sqlite_path;  /* of the store; with a DSN, of the journal */
    rl_redact redact;
    size_t max_payload;                /* bytes of JSON beyond which a payload is cut */
    size_t max_value;                  /* the same for a value: see core/value.h */
    rl_durability log_runs;            /* for log_run */
    rl_durability graph_runs;          /* for the LangGraph handler */
    uint64_t timeout_ns;               /* for each answer of PostgreSQL */
    size_t max_memory;                 /* bytes that open runs may take */
    unsigned pool;                     /* connections to PostgreSQL for reads */
    rl_migration_set sqlite, postgres; /* the second only with a DSN */
} rl_config;

void rl_config_free(rl_config *config); /* frees what it owns, and leaves it empty */

#endif
