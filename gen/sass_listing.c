// sass_listing: see sass_listing.h. One pass over the lines; labels are resolved at the end of each kernel.
// SPDX-License-Identifier: Apache-2.0
#include "sass_listing.h"

#include "buf.h"
#include "text_lines.h"
#include <stdio.h>
#include <stdlib.h>

/* -- Reading state --------------------------------------------------------- */

struct label {
    const char *name;
    int instr;
    int line; /* of the listing */
};

struct reader {
    struct sass_listing *out;
    struct sass_kernel kernel; /* the one being read */
    struct label *label;
    int label_count, label_capacity;
    int *line_of; /* of the listing, for each instruction */
    int line;
    char *why;
};

#define FAIL(reader, ...) (snprintf((reader)->why, SASS_WHY_BYTES, __VA_ARGS__), false)

static void *grown(void *items, int count, int *capacity, size_t size) {
    if (count < *capacity) return items;
    *capacity = *capacity ? 2 * *capacity : 64;
    void *more = xcalloc((size_t)*capacity, size);
    if (count) memcpy(more, items, (size_t)count * size);
    free(items);
    return more;
}

bool sass_is(const struct sass_instr *instr, const char *name) {
    size_t len = strlen(name);
    if (strncmp(instr->text, name, len) != 0) return false;
    return strchr(". ", instr->text[len]) != NULL; // a NUL too
}

/* -- Branches --------------------------------------------------------------- */

static int instr_at(const struct sass_kernel *k, unsigned address) {
    int low = 0, high = k->count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (k->item[middle].address < address)
            low = middle + 1;
        else
            high = middle;
    }
    return low < k->count && k->item[low].address == address ? low : -1;
}

static void add_target(struct sass_instr *instr, int target) {
    int *more = xcalloc((size_t)instr->target_count + 1, sizeof *more);
    if (instr->target_count) memcpy(more, instr->target, (size_t)instr->target_count * sizeof *more);
    free(instr->target);
    instr->target = more;
    instr->target[instr->target_count++] = target;
}

static const struct label *find_label(const struct reader *r, const char *name, size_t len) {
    for (int i = 0; i < r->label_count; i++)
        if (strncmp(r->label[i].name, name, len) == 0 && r->label[i].name[len] == '\0') return &r->label[i];
    return NULL;
}

// "`(.L_x_3)", several of them, or ".L_x_3" in a list of branch targets.
static bool label_targets(struct reader *r, struct sass_instr *instr) {
    for (const char *p = instr->text; *p;) {
        const bool quoted = p[0] == '`' && p[1] == '(';
        const char *name = quoted ? p + 2 : p;
        if (!quoted && strncmp(p, ".L_", 3) != 0) {
            p++;
            continue;
        }
        size_t len = strcspn(name, quoted ? ")" : " ,)\"*");
        const struct label *label = find_label(r, name, len);
        if (label && label->instr < r->kernel.count) add_target(instr, label->instr);
        if (!label && !instr->is_call)
            return FAIL(r, "line %d: the target of '%.60s' is no label of the kernel",
                        r->line_of[instr - r->kernel.item], instr->text);
        p = name + len;
    }
    return true;
}

// "BRA 0x1390", "@P0 BRA P1, 0x1390": the last operand, in listings without labels.
static bool address_target(struct reader *r, struct sass_instr *instr) {
    const char *operand = strrchr(instr->text, ' ');
    char *end = NULL;
    unsigned long address = operand ? strtoul(operand + 1, &end, 16) : 0;
    int target =
        operand && strncmp(operand + 1, "0x", 2) == 0 && *end == '\0' ? instr_at(&r->kernel, (unsigned)address) : -1;
    if (target >= 0) add_target(instr, target);
    if (target >= 0 || instr->is_call) return true;
    return FAIL(r, "line %d: '%.60s' leads to no instruction of the kernel", r->line_of[instr - r->kernel.item],
                instr->text);
}

static bool is_guarded(const struct sass_instr *instr) {
    return instr->guard[0] && strcmp(instr->guard, "@PT") != 0 && strcmp(instr->guard, "@UPT") != 0;
}

// A condition may also stand among the operands: "BRA.U !UP0, `(.L_x_2)", "BRA.DIV UR4, `(.L_x_9)".
static bool has_condition(const struct sass_instr *instr) {
    const char *operands = strchrnul(instr->text, ' ');
    operands += strspn(operands, " ");
    return is_guarded(instr) || (*operands != '`' && strncmp(operands, "0x", 2) != 0);
}

// ptxas also writes plain jumps as "CALL.REL.NOINC `(.L_x_30)": to a label of the kernel, and nothing comes back.
static bool resolve(struct reader *r, struct sass_instr *instr) {
    const bool is_call = sass_is(instr, "CALL");
    instr->is_call = is_call && !strstr(instr->text, "`(.L_");
    if (sass_is(instr, "EXIT") || sass_is(instr, "RET")) {
        instr->next = is_guarded(instr) ? SASS_FALLS : SASS_LEAVES;
        return true;
    }
    const bool indirect = sass_is(instr, "BRX") || sass_is(instr, "BRXU") || sass_is(instr, "JMX");
    if (!indirect && !is_call && !sass_is(instr, "BRA") && !sass_is(instr, "JMP")) return true;
    instr->next = instr->is_call ? SASS_CHOOSES : SASS_JUMPS;
    if (!instr->is_call && (indirect ? is_guarded(instr) : has_condition(instr))) instr->next = SASS_CHOOSES;
    if (!label_targets(r, instr)) return false;
    if (instr->target_count > 0 || strchr(instr->text, '`')) return true;
    if (indirect)
        return FAIL(r, "line %d: the targets of '%.60s' are not told", r->line_of[instr - r->kernel.item], instr->text);
    return address_target(r, instr);
}

/* -- Kernels ---------------------------------------------------------------- */

static void kernel_free(struct sass_kernel *k) {
    for (int i = 0; i < k->count; i++) free(k->item[i].target);
    free(k->item);
}

static bool end_kernel(struct reader *r) {
    struct sass_listing *out = r->out;
    bool ok = true;
    for (int i = 0; ok && i < r->kernel.count; i++) ok = resolve(r, &r->kernel.item[i]);
    if (ok && r->kernel.count > 0) {
        struct sass_kernel *more = xcalloc((size_t)out->count + 1, sizeof *more);
        if (out->count) memcpy(more, out->kernel, (size_t)out->count * sizeof *more);
        free(out->kernel);
        out->kernel = more;
        out->kernel[out->count++] = r->kernel;
    } else {
        kernel_free(&r->kernel);
    }
    r->kernel = (struct sass_kernel){0};
    r->label_count = 0;
    return ok;
}

static bool begin_kernel(struct reader *r, char *name) {
    if (!end_kernel(r)) return false;
    name[strcspn(name, " \t,\r")] = '\0';
    r->kernel.name = name[0] ? name : NULL;
    return true;
}

/* -- Lines ------------------------------------------------------------------- */

static bool take_label(struct reader *r, char *name, size_t len) {
    name[len] = '\0';
    const struct label *other = find_label(r, name, len);
    if (other && other->instr != r->kernel.count)
        return FAIL(r, "line %d: the label '%.60s' is also in line %d", r->line, name, other->line);
    if (other) return true;
    r->label = grown(r->label, r->label_count, &r->label_capacity, sizeof *r->label);
    r->label[r->label_count++] = (struct label){name, r->kernel.count, r->line};
    return true;
}

static char *trim(char *text) {
    text += strspn(text, " \t{");
    size_t len = strlen(text);
    while (len > 0 && strchr(" \t\r}", text[len - 1])) len--;
    text[len] = '\0';
    return text;
}

// What follows the address: "@!P0 BRA `(.L_x_12) ;", maybe with the encoding behind it.
static bool take_instr(struct reader *r, unsigned address, char *rest) {
    rest[strcspn(rest, ";")] = '\0';
    char *text = trim(rest), *guard = text;
    if (text[0] == '@') {
        text += strcspn(text, " \t");
        if (*text) *text++ = '\0';
        text = trim(text);
    }
    if (text[0] < 'A' || text[0] > 'Z') return true; // data
    if (r->kernel.count > 0 && r->kernel.item[r->kernel.count - 1].address >= address)
        return FAIL(r, "line %d: the address %#x is not above the one before it", r->line, address);
    int capacity = r->kernel.capacity;
    r->kernel.item = grown(r->kernel.item, r->kernel.count, &r->kernel.capacity, sizeof *r->kernel.item);
    r->line_of = grown(r->line_of, r->kernel.count, &capacity, sizeof *r->line_of);
    r->line_of[r->kernel.count] = r->line;
    r->kernel.item[r->kernel.count++] =
        (struct sass_instr){.address = address, .guard = guard == text ? "" : guard, .text = text};
    return true;
}

static bool take_line(struct reader *r, char *line) {
    char *text = line + strspn(line, " \t"), *end;
    if (strncmp(text, "Function : ", 11) == 0) return begin_kernel(r, text + 11);
    if (strncmp(text, ".section", 8) == 0 && strchr(" \t", text[8]) && text[8]) {
        char *name = text + 8 + strspn(text + 8, " \t");
        if (strncmp(name, ".text.", 6) == 0) return begin_kernel(r, name + 6);
        return begin_kernel(r, name + strlen(name)); // of data: its labels and bytes are no code
    }
    if (!r->kernel.name) return true;
    if (strncmp(text, "/*", 2) == 0) {
        unsigned long address = strtoul(text + 2, &end, 16);
        const bool plain = end > text + 2 && text[2] != ' ' && text[3] != 'x' && strncmp(end, "*/", 2) == 0;
        return !plain || address > 1u << 30 || take_instr(r, (unsigned)address, end + 2);
    }
    size_t len = strcspn(text, ": \t\r");
    return len == 0 || text[len] != ':' || text != line || take_label(r, text, len);
}

bool sass_listing_read(struct sass_listing *out, const char *text, size_t len, char why[SASS_WHY_BYTES]) {
    *out = (struct sass_listing){.text = xstrndup(text, len)};
    struct reader r = {.out = out, .why = why};
    bool ok = true;
    for (char *line = out->text, *next; ok && *line; line = next) {
        next = line + strcspn(line, "\n");
        if (*next) *next++ = '\0';
        r.line++;
        ok = take_line(&r, line);
    }
    if (ok)
        ok = end_kernel(&r);
    else
        kernel_free(&r.kernel);
    if (ok && out->count == 0) ok = FAIL(&r, "no kernel: this is no text of nvdisasm -c or cuobjdump -sass");
    free(r.label);
    free(r.line_of);
    if (!ok) sass_listing_free(out);
    return ok;
}

void sass_listing_free(struct sass_listing *listing) {
    for (int i = 0; i < listing->count; i++) kernel_free(&listing->kernel[i]);
    free(listing->kernel);
    free(listing->text);
    *listing = (struct sass_listing){0};
}
