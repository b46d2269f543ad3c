// tune_wisdom: the wisdom file of `sagegen tune`: where it is, what it holds, what the winners add to it; and --merge.
// SPDX-License-Identifier: Apache-2.0
#include "tune_command.h"

#include "table.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* -- Files ---- */

// The user's wisdom by the context's own rules, and the journal beside it. Estimates leave both alone.
static bool find_files(struct tune_command *c) {
    const sage_options options = {.size = sizeof options, .device = -1, .memory_only = 1};
    struct wisdom_description wisdom;
    sage_context *context = NULL;
    if (sage_context_create(&options, &context) != SAGE_OK) {
        cmd_failed("%s", sage_last_error(NULL));
        return false;
    }
    wisdom_describe(context, &wisdom);
    const char *path = strcmp(wisdom.path, "none") == 0 ? "" : wisdom.path, *slash = strrchr(path, '/');
    if (!tune_is_estimate(c)) {
        buf_puts(&c->wisdom_path, path);
        if (path[0]) buf_printf(&c->journal_path, "%.*stune.journal", slash ? (int)(slash - path) + 1 : 0, path);
    }
    if (c->out) {
        buf_clear(&c->wisdom_path);
        buf_puts(&c->wisdom_path, c->out);
    }
    // Where the user has no wisdom, the journal is beside --out.
    if (c->out && !tune_is_estimate(c) && !c->journal_path.len) buf_printf(&c->journal_path, "%s.journal", c->out);
    if (c->journal_file) {
        buf_clear(&c->journal_path);
        buf_puts(&c->journal_path, c->journal_file);
    }
    sage_context_destroy(context);
    if (tune_is_estimate(c) || c->wisdom_path.len) return true;
    cmd_bad_input("there is no place for wisdom (SAGE_WISDOM is none, or HOME is not set): give --out FILE");
    return false;
}

bool tune_wisdom_read(struct tune_command *c) {
    c->status = CMD_BAD_INPUT;
    return find_files(c) &&
           (!c->wisdom_path.len || wisdom_list_read(&c->wisdom, c->wisdom_path.data, false, WISDOM_REPLACE, &c->diag));
}

/* -- Wisdom ---- */

static void row_fill(const struct tune_command *c, const struct tune_task *t, int winner, struct wisdom_row *out) {
    const struct spec *spec = &t->spec->spec;
    const sage_attention_shape s = tune_shape(t);
    const struct tune_time fastest = tune_best_time(&t->candidate[winner]), usual = tune_best_time(&t->candidate[0]);
    *out = (struct wisdom_row){.head_dim_qk = spec->head_dim_qk,
                               .head_dim_v = spec->head_dim_v,
                               .batch = s.batch,
                               .heads_q = s.heads_q,
                               .heads_kv = s.heads_kv,
                               .seq_q = s.seq_q,
                               .seq_k = s.seq_k,
                               .variant_ns = fastest.ns,
                               .default_ns = usual.ns ? usual.ns : fastest.ns}; // the default one may have failed
    snprintf(out->spec, sizeof out->spec, "%s", spec->name);
    snprintf(out->spec_hash, sizeof out->spec_hash, "%016" PRIx64, spec->hash);
    snprintf(out->target, sizeof out->target, "%s", spec_target_text(t->target));
    snprintf(out->io, sizeof out->io, "%s", spec_io_text(t->io));
    snprintf(out->mask, sizeof out->mask, "%s", t->problem.causal ? "causal" : "none");
    snprintf(out->variant, sizeof out->variant, "%s", tune_set_of(&c->work, t, winner)->name);
}

bool tune_wisdom_write(struct tune_command *c) {
    for (int i = 0; i < c->work.tasks; i++) {
        struct wisdom_row row;
        const int winner = tune_winner(&c->work, &c->work.task[i]);
        if (winner < 0) continue;
        row_fill(c, &c->work.task[i], winner, &row);
        wisdom_list_add(&c->wisdom, &c->probe.machine, &row, WISDOM_REPLACE);
        c->wisdom_new++;
    }
    return !c->wisdom_path.len || !c->wisdom_new || wisdom_list_write(&c->wisdom, c->wisdom_path.data, &c->diag);
}

/* -- Merge ---- */

bool tune_wisdom_merge(struct tune_command *c) {
    bool ok = true;
    c->status = CMD_BAD_INPUT;
    for (int i = 0; i < c->files; i++) ok &= wisdom_list_read(&c->wisdom, c->file[i], true, WISDOM_BETTER, &c->diag);
    if (!ok) fputs("sagegen: note: nothing was written\n", stderr);
    if (!ok) return false;
    c->status = CMD_FAILED;
    if (!wisdom_list_write(&c->wisdom, c->out, &c->diag)) return false;
    c->status = CMD_DONE;
    struct buf out = {0};
    if (c->json)
        table_put_json(json_pack("{s:i, s:i, s:i, s:s}", "files", c->files, "machines", c->wisdom.machines, "rows",
                                 c->wisdom.rows, "out", c->out),
                       &out);
    else
        buf_printf(&out, "%d rows of %d machine%s in %s\n", c->wisdom.rows, c->wisdom.machines,
                   c->wisdom.machines == 1 ? "" : "s", c->out);
    cmd_print(&out);
    buf_free(&out);
    return true;
}
