/* What runlog deletes. See gone.h. */
#include "rollup/gone.h"

#include "core/buf.h"
#include "rollup/form.h"

#include <string.h>

typedef struct rl_gone_group {
    struct rl_gone_group *next;
    rl_string wpk_id;
    int64_t slot;
    rl_mark mark;
    rl_sums sums;
} rl_gone_group;

void rl_gone_free(rl_gone *gone)
{
    for (rl_gone_group *group = gone->groups; group != NULL; group = group->next) {
        rl_sums_free(&group->sums);
    }
    rl_sums_free(&gone->one);
    rl_pool_free(&gone->pool);
    memset(gone, 0, sizeof *gone);
}

void rl_gone_look(rl_gone *gone, rl_string wpk_id, const rl_fold_run *run)
{
    rl_sums_free(&gone->one);
    rl_fold(&gone->one, run);
    gone->counts = gone->one.folded > 0;
    gone->at = run->created_at;
    if (gone->wpk_id.text == NULL || !rl_text_equals(gone->wpk_id, wpk_id)) {
        gone->wpk_id = rl_pool_keep(&gone->pool, wpk_id.text, wpk_id.len);
    }
    gone->failed |= gone->one.failed || gone->wpk_id.text == NULL;
}

static rl_gone_group *group_of(rl_gone *gone)
{
    const int64_t slot = rl_floor_time(gone->at, RL_SLOT_US);
    rl_gone_group *group = gone->groups;

    while (group != NULL &&
           (group->slot != slot || !rl_text_equals(group->wpk_id, gone->wpk_id))) {
        group = group->next;
    }
    if (group == NULL) {
        group = rl_pool_take(&gone->pool, sizeof *group);
        gone->failed |= group == NULL;
        if (group != NULL) {
            group->wpk_id = gone->wpk_id;
            group->slot = slot;
            group->mark.from = group->mark.to = gone->at;
            group->next = gone->groups;
            gone->groups = group;
        }
    }
    return group;
}

void rl_gone_take(rl_gone *gone)
{
    rl_gone_group *group = gone->counts && !gone->failed ? group_of(gone) : NULL;
    rl_buf form;

    if (group != NULL) {
        rl_buf_init(&form, RL_BUF_MAX);
        rl_form_write(&gone->one, &form);
        gone->failed |= form.failed ||
                        !rl_form_read(&group->sums, form.data, form.len, false) ||
                        group->sums.failed;
        rl_buf_free(&form);
        group->mark.from = gone->at < group->mark.from ? gone->at : group->mark.from;
        group->mark.to = gone->at > group->mark.to ? gone->at : group->mark.to;
        group->mark.runs++;
    }
    gone->counts = false;
}

rl_status rl_gone_write(rl_gone *gone, rl_book *book, rl_err *err)
{
    rl_status status = gone->failed ? rl_err_nomem(err) : RL_OK;

    for (rl_gone_group *group = gone->groups; group != NULL && status == RL_OK;
         group = group->next) {
        rl_buf form;

        rl_buf_init(&form, RL_BUF_MAX);
        rl_form_write(&group->sums, &form);
        group->mark.gone = (rl_bytes){form.data, form.len};
        status = form.failed
                     ? rl_err_nomem(err)
                     : book->ops->add_mark(book, group->wpk_id, &group->mark, err);
        rl_buf_free(&form);
    }
    return status;
}
