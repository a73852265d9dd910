/* What counting leaves, blocks and spans has in common. See pass.h. */
#include "rollup/pass.h"

#include "rollup/form.h"

rl_status rl_pass_change(rl_pass *self, const rl_change *one)
{
    rl_buf_add(&self->count->changes, one, sizeof *one);
    self->bytes += one->piece.data.len + one->piece.gone.len + sizeof *one;
    return self->count->changes.failed ? rl_err_nomem(self->err) : RL_OK;
}

rl_status rl_pass_write_form(rl_pass *self, const rl_sums *sums, rl_bytes *bytes)
{
    rl_string copy = {NULL, 0};
    rl_buf out;

    rl_buf_init(&out, RL_BUF_MAX);
    rl_form_write(sums, &out);
    if (!out.failed && !sums->failed) {
        copy = rl_pool_keep(&self->count->pool, out.data, out.len);
    }
    rl_buf_free(&out);
    *bytes = (rl_bytes){copy.text, copy.len};
    return copy.text != NULL ? RL_OK : rl_err_nomem(self->err);
}

rl_status rl_pass_read_form(rl_pass *self, rl_sums *sums, rl_bytes bytes, bool down,
                            bool *damaged)
{
    const bool sound = rl_form_read(sums, bytes.data, bytes.len, down);
    rl_status status = RL_OK;

    if (sums->failed) {
        status = rl_err_nomem(self->err);
    } else if (!sound) {
        *damaged = true;
        self->count->damaged++;
    }
    return status;
}

rl_status rl_pass_know_names(rl_pass *self, rl_sums *sums)
{
    for (size_t i = 0; i < self->names.count; i++) {
        (void)rl_sums_node(sums, self->names.list[i]);
    }
    return sums->failed ? rl_err_nomem(self->err) : RL_OK;
}

rl_status rl_pass_learn_names(rl_pass *self, const rl_sums *sums)
{
    rl_status status = sums->failed ? rl_err_nomem(self->err) : RL_OK;

    for (size_t i = self->names.count; i < sums->node_count && status == RL_OK; i++) {
        const rl_string name = rl_pool_keep(&self->count->pool, sums->nodes[i]->name.text,
                                            sums->nodes[i]->name.len);
        const rl_change add = {.kind = RL_CHANGE_ADD_NAME,
                               .wpk_id = self->wpk_id,
                               .node = name,
                               .number = (unsigned)i};

        status = name.text != NULL && rl_names_add(&self->names, &self->count->pool, name)
                     ? rl_pass_change(self, &add)
                     : rl_err_nomem(self->err);
    }
    return status;
}

rl_status rl_pass_put_piece(rl_pass *self, rl_level level, const rl_piece *piece)
{
    const rl_change put = {.kind = RL_CHANGE_PUT_PIECE,
                           .level = level,
                           .wpk_id = self->wpk_id,
                           .piece = *piece};

    return rl_pass_change(self, &put);
}

rl_status rl_pass_add_sums(rl_pass *self, rl_sums *to, const rl_sums *more)
{
    bool damaged = false;
    rl_bytes bytes;
    rl_status status = rl_pass_write_form(self, more, &bytes);

    return status == RL_OK ? rl_pass_read_form(self, to, bytes, false, &damaged) : status;
}
