// plan_table: a list of descriptions with their plans. Who misses one puts a row without a plan, makes the plan without
// the lock, and fills the row or takes it out again; others that want it wait for that.
// SPDX-License-Identifier: Apache-2.0
#include "plan_table.h"
#include "context.h"
#include "parallel.h"
#include "select.h"
#include <assert.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum {
    PREWARM_THREADS = 4, /* each compiles its kernels on as many threads as there are CPUs */
    PREWARM_MAX = 1 << 16,
    DESC_BYTES_MAX = 4096 /* a description that claims more was not initialised */
};

struct plan_row {
    struct plan_row *next;
    sage_attention_desc desc;  /* defaults filled in; spec is owned */
    char *spec;                /* NULL: none was asked for */
    sage_attention_plan *plan; /* NULL: being made */
};

struct plan_table {
    pthread_mutex_t lock;
    pthread_cond_t made; /* some row was filled or taken out */
    struct plan_row *rows;
};

static_assert(offsetof(sage_attention_desc, expected) + sizeof(sage_attention_shape) == sizeof(sage_attention_desc),
              "is_same compares every member of sage_attention_desc up to its last, expected");

/* -- Rows -----------------------------------------------------------------------------------------------------------
 */

static bool is_same_shape(const sage_attention_shape *a, const sage_attention_shape *b) {
    return a->batch == b->batch && a->heads_q == b->heads_q && a->heads_kv == b->heads_kv && a->seq_q == b->seq_q &&
           a->seq_k == b->seq_k;
}

static bool is_same(const struct plan_row *row, const sage_attention_desc *desc) {
    const sage_attention_desc *own = &row->desc;
    if (own->dtype != desc->dtype || own->head_dim_qk != desc->head_dim_qk || own->head_dim_v != desc->head_dim_v ||
        own->mask != desc->mask || own->precision != desc->precision || own->flags != desc->flags ||
        own->sm_scale != desc->sm_scale || !row->spec != !desc->spec ||
        !is_same_shape(&own->expected, &desc->expected))
        return false;
    return !row->spec || strcmp(row->spec, desc->spec) == 0;
}

static struct plan_row **find(struct plan_table *table, const sage_attention_desc *desc) {
    struct plan_row **link = &table->rows;
    while (*link && !is_same(*link, desc)) link = &(*link)->next;
    return link;
}

static void row_free(sage_context *context, struct plan_row *row) {
    if (!row) return;
    context_free(context, row->spec);
    context_free(context, row);
}

static struct plan_row *row_new(sage_context *context, const sage_attention_desc *desc) {
    struct plan_row *row = context_alloc_zeroed(context, sizeof *row);
    if (!row) return NULL;
    row->desc = *desc;
    row->spec = desc->spec ? context_copy_text(context, desc->spec, strlen(desc->spec)) : NULL;
    row->desc.spec = row->spec;
    if (!desc->spec || row->spec) return row;
    row_free(context, row);
    return NULL;
}

/* -- Getting --------------------------------------------------------------------------------------------------------
 */

// Waits while somebody makes it. NULL: nobody has, and nobody does.
static sage_attention_plan *wait_for(struct plan_table *table, const sage_attention_desc *desc) {
    struct plan_row *row;
    while ((row = *find(table, desc)) && !row->plan) pthread_cond_wait(&table->made, &table->lock);
    return row ? row->plan : NULL;
}

static sage_status not_now(sage_context *context, const sage_attention_desc *desc) {
    return context_error(context, SAGE_ERROR_CAPTURE,
                         "no plan yet for head_dim_qk %d, head_dim_v %d, and the stream is being captured: call "
                         "sage_attention_prewarm or sage_attention_plan_get before the capture",
                         desc->head_dim_qk, desc->head_dim_v);
}

// The row is in the table, without a plan. Fills it, or takes it out and frees it.
static sage_status row_make(sage_context *context, struct plan_row *row, sage_attention_plan **out) {
    struct plan_table *table = context->plans;
    sage_attention_plan *plan = NULL;
    sage_status status = sage_attention_plan_create(context, &row->desc, &plan);
    pthread_mutex_lock(&table->lock);
    row->plan = plan;
    if (!plan) *find(table, &row->desc) = row->next;
    pthread_cond_broadcast(&table->made);
    pthread_mutex_unlock(&table->lock);
    if (!plan) row_free(context, row);
    if (status == SAGE_OK) *out = plan;
    return status;
}

// Where there is none, adds `row` for the caller to make, and sets *mine.
static sage_attention_plan *get_or_add(struct plan_table *table, struct plan_row *row, bool *mine) {
    pthread_mutex_lock(&table->lock);
    sage_attention_plan *plan = wait_for(table, &row->desc);
    *mine = !plan;
    if (*mine) {
        row->next = table->rows;
        table->rows = row;
    }
    pthread_mutex_unlock(&table->lock);
    return plan;
}

static sage_status get(sage_context *context, const sage_attention_desc *filled, sage_attention_plan **out) {
    struct plan_row *row = row_new(context, filled);
    bool mine;
    if (!row) return SAGE_ERROR_OUT_OF_MEMORY;
    sage_attention_plan *plan = get_or_add(context->plans, row, &mine);
    if (mine) return row_make(context, row, out);
    row_free(context, row);
    *out = plan;
    return SAGE_OK;
}

sage_status sage_attention_plan_get(sage_context *context, const sage_attention_desc *desc, sage_stream stream,
                                    const sage_attention_plan **out) {
    sage_attention_desc filled;
    SAGE_TRY(select_check_call(context, desc, out, &filled));
    struct plan_table *table = context->plans;
    pthread_mutex_lock(&table->lock);
    const struct plan_row *row = *find(table, &filled);
    sage_attention_plan *plan = row ? row->plan : NULL;
    pthread_mutex_unlock(&table->lock);
    if (plan == NULL) {
        if (driver_is_capturing(context, stream)) return not_now(context, &filled);
        SAGE_TRY(get(context, &filled, &plan));
    }
    *out = plan;
    return SAGE_OK;
}

/* -- Prewarm --------------------------------------------------------------------------------------------------------
 */

struct prewarm {
    sage_context *context;
    const sage_attention_desc *descs;
    size_t stride; /* bytes from one description to the next: the caller's may be of another version */
    pthread_mutex_t lock;
    size_t failed; /* index of the first that failed; the count: none */
    sage_status status;
    char why[CONTEXT_ERROR_BYTES / 2];
};

static void prewarm_one(void *user, size_t index) {
    struct prewarm *all = user;
    const sage_attention_desc *desc = (const void *)((const char *)all->descs + index * all->stride);
    sage_attention_desc filled;
    sage_attention_plan *plan;
    sage_status status = desc->size == all->stride
                             ? select_check_desc(all->context, desc, &filled)
                             : context_error(all->context, SAGE_ERROR_INVALID_ARGUMENT,
                                             "size = %zu, that of descs[0] is %zu", desc->size, all->stride);
    if (status == SAGE_OK) status = get(all->context, &filled, &plan);
    if (status == SAGE_OK) return;
    pthread_mutex_lock(&all->lock);
    if (index < all->failed) {
        all->failed = index;
        all->status = status;
        snprintf(all->why, sizeof all->why, "%s", sage_last_error(all->context));
    }
    pthread_mutex_unlock(&all->lock);
}

sage_status sage_attention_prewarm(sage_context *context, const sage_attention_desc *descs, size_t count) {
    if (context == NULL || (descs == NULL && count > 0))
        return context_error(context, SAGE_ERROR_INVALID_ARGUMENT, "%s is NULL", context == NULL ? "context" : "descs");
    if (count == 0) return SAGE_OK;
    struct prewarm all = {.context = context, .descs = descs, .stride = descs->size, .failed = count};
    if (count > PREWARM_MAX || all.stride % sizeof(size_t) != 0 || all.stride > DESC_BYTES_MAX)
        return context_error(context, SAGE_ERROR_INVALID_ARGUMENT,
                             "prewarm: %zu descriptions of size %zu; at most %d, of sizeof(sage_attention_desc)", count,
                             all.stride, PREWARM_MAX);
    pthread_mutex_init(&all.lock, NULL);
    parallel_for(count, PREWARM_THREADS, prewarm_one, &all);
    pthread_mutex_destroy(&all.lock);
    if (all.failed == count) return SAGE_OK;
    return context_error(context, all.status, "descs[%zu]: %s", all.failed, all.why);
}

/* -- Life -----------------------------------------------------------------------------------------------------------
 */

sage_status plan_table_create(sage_context *context) {
    context->plans = context_alloc_zeroed(context, sizeof *context->plans);
    if (!context->plans) return SAGE_ERROR_OUT_OF_MEMORY;
    pthread_mutex_init(&context->plans->lock, NULL);
    pthread_cond_init(&context->plans->made, NULL);
    return SAGE_OK;
}

void plan_table_destroy(sage_context *context) {
    struct plan_table *table = context->plans;
    if (!table) return;
    while (table->rows) {
        struct plan_row *row = table->rows;
        table->rows = row->next;
        sage_attention_plan_destroy(row->plan);
        row_free(context, row);
    }
    pthread_cond_destroy(&table->made);
    pthread_mutex_destroy(&table->lock);
    context_free(context, table);
    context->plans = NULL;
}
