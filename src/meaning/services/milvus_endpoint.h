/* The endpoint of Milvus, as users give it.
 *
 * Threads: any. Ownership: the text made is the caller's.
 */
#ifndef RL_MILVUS_ENDPOINT_H
#define RL_MILVUS_ENDPOINT_H

#include "core/err.h"

/* Makes "http://host:19530" or "https://host:443" of an endpoint: http without a scheme, and
 * without a port the one that Milvus's own client takes. A user, a path, a query or a fragment
 * has no meaning here, and is refused: RL_CONFIG names MILVUS_ENDPOINT and quotes nothing of
 * it. *url is owned by the caller (rl_free). */
rl_status rl_milvus_parse_endpoint(const char *endpoint, char **url, rl_err *err);

#endif
