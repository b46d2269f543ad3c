// fuzz_spec: a kernel spec; one that is accepted is planned for each of its targets, and expanded for the first.
// SPDX-License-Identifier: Apache-2.0
#include "fuzz.h"
#include "plan.h"

static void expand(const struct plan *plan, struct diag *diag) {
    struct expansion text;
    if (plan_expand(plan, NULL, diag, &text)) expansion_free(&text);
}

static void plan_target(const struct spec *spec, int index, struct diag *diag) {
    char why[256] = "";
    struct plan_request request = {.spec = spec,
                                   .target = (enum spec_target)spec->targets.item[index],
                                   .io = (enum spec_io)spec->io.item[0],
                                   .mask = (enum spec_mask)spec->mask.item[0]};
    if (!plan_default_variant(spec, request.target, &request.variant, why, sizeof why)) {
        FUZZ_CHECK(why[0] != 0, "no tuning point, and no reason");
        return;
    }
    for (int role = 0; role < SAGE_ROLE_COUNT; role++) {
        struct plan plan;
        request.role = (enum sage_role)role;
        if (!plan_needs_role(spec, request.role)) continue;
        plan_make(&plan, &request);
        if (index == 0) expand(&plan, diag);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    struct buf messages = {0}, canonical = {0};
    struct diag diag = {.sink = &messages};
    struct spec spec;
    if (spec_parse(&spec, "fuzz.yaml", (const char *)data, bytes, &diag)) {
        spec_canonical(&spec, &canonical);
        for (int i = 0; i < spec.targets.count; i++) plan_target(&spec, i, &diag);
        spec_free(&spec);
    } else {
        FUZZ_CHECK(diag.errors > 0 && messages.len > 0, "refused without a reason");
    }
    buf_free(&canonical);
    buf_free(&messages);
    diag_free(&diag);
    return 0;
}
