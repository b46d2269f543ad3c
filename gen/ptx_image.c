// ptx_image: see ptx_image.h. A line of the map becomes a comment, so that the whole stays PTX.
// SPDX-License-Identifier: Apache-2.0
#include "ptx_image.h"

#include "ptxas_messages.h"
#include "text_lines.h"

static const char head[] = "\n// sagegen: line map\n", mark[] = "//~ ";

void ptx_image_write(const char *ptx, const struct linemap *map, struct buf *out) {
    struct buf lines = {0};
    linemap_write(map, &lines);
    buf_puts(out, ptx);
    buf_puts(out, head);
    for (const char *p = lines.data; *p; p = next_line(p)) buf_printf(out, "%s%.*s\n", mark, (int)(line_end(p) - p), p);
    buf_free(&lines);
}

bool ptx_image_map(const char *image, struct linemap *map) {
    const size_t mark_len = sizeof mark - 1;
    const char *at = strstr(image, head);
    struct buf lines = {0};
    *map = (struct linemap){0};
    if (!at) return false;
    for (at += sizeof head - 1; strncmp(at, mark, mark_len) == 0; at = next_line(at))
        buf_append(&lines, at + mark_len, (size_t)(next_line(at) - at) - mark_len);
    const bool ok = lines.len > 0 && linemap_read(map, lines.data, lines.len);
    buf_free(&lines);
    return ok;
}

struct ptx_place ptx_image_place(const char *image, const struct linemap *map, const char *name, int ptx_line) {
    struct ptx_place place = {0};
    int line = 0, caller = 0;
    ptx_line_origin(image, name, ptx_line, &line, &caller);
    place.file = linemap_find(map, line, &place.line);
    place.caller_file = linemap_find(map, caller, &place.caller_line);
    return place;
}

void ptx_place_text(const struct ptx_place *place, struct buf *out) {
    const char *file = place->caller_file ? place->caller_file : place->file;
    buf_puts(out, "");
    if (file) buf_printf(out, "templates/%s:%d", file, place->caller_file ? place->caller_line : place->line);
}
