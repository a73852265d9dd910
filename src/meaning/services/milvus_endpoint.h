/* The setting MILVUS_ENDPOINT.
 *
 * Threads: any. Ownership: see the function.
 */
#ifndef RL_MILVUS_ENDPOINT_H
#define RL_MILVUS_ENDPOINT_H

#include "core/err.h"

/* Makes a URL with a scheme and a port of an endpoint: "http://host:19530" or
 * "https://host:443", where http is the default scheme and the ports are the defaults of
 * Milvus's own client. RL_CONFIG for an endpoint with a user, a path, a query or a
 * fragment; the error names MILVUS_ENDPOINT and quotes nothing of it. *url is owned by
 * the caller (rl_free). */
rl_status rl_milvus_parse_endpoint(const char *endpoint, char **url, rl_err *err);

#endif
