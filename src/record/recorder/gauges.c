/* What is now. See gauges.h. */
#include "record/recorder/gauges.h"

#include "record/recorder/lost.h"

void rl_gauges_init(rl_gauges *self, const char *workflows)
{
    memset(self, 0, sizeof *self);
    self->workflows = workflows;
    rl_rows_init(&self->newest);
}

void rl_gauges_free(rl_gauges *self)
{
    rl_rows_free(&self->newest);
}

rl_status rl_gauges_read(rl_gauges *self, rl_store *store, rl_err *err)
{
    rl_query query;
    rl_status status = rl_lost_count(store, &self->open, &self->lost, err);

    if (status == RL_OK) {
        rl_query_init(&query, RL_SHAPE_NEWEST);
        query.workflows = self->workflows;
        status = store->ops->query(store, &query, &self->newest, err);
    }
    return status;
}
