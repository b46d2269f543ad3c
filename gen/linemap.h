// linemap: output line <-> template line, for `sagegen where` and for rewriting compiler messages. Text format, see linemap_write.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_LINEMAP_H
#define SAGE_GEN_LINEMAP_H

#include "buf.h"
#include <stdbool.h>
#include <stddef.h>

// Output line i + 1 came from line rows[i].line of files[rows[i].file]; line 0: made by the expander itself.
struct linemap_row {
    int file;
    int line;
};

struct linemap {
    char **files; /* template names relative to the template folder: "stage/softmax.cu.tl" */
    int file_count;
    struct linemap_row *rows;
    int row_count;
    int row_capacity;
};

void linemap_add(struct linemap *m, const char *file, int line); // appends the next output line
void linemap_write(const struct linemap *m, struct buf *out);    // run-length text: `# Format:` head, then `first-last file:line`
bool linemap_read(struct linemap *m, const char *text, size_t len); // false where the text is not a line map; *m then in the zero state
const char *linemap_find(const struct linemap *m, int output_line, int *template_line); // NULL if unknown
// Rewrites `<name>(LINE)` and `<name>:LINE` of NVRTC front-end messages to `templates/FILE:LINE`; other text is kept.
void linemap_rewrite_log(const struct linemap *m, const char *name, const char *log, struct buf *out);
void linemap_free(struct linemap *m);

#endif
