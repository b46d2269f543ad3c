// cmd_where: kernel.cu:LINE -> the template line that emitted it, by the line map beside the file. Reads; writes
// nothing. SPDX-License-Identifier: Apache-2.0
#include "cmd.h"

#include "linemap.h"
#include "template.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAP_BYTES_MAX = 16 << 20 };

static const struct cmd_option options[] = {{NULL, 0, NULL, NULL}};

static const struct cmd_syntax syntax = {
    .name = "where",
    .usage = "where FILE.cu:LINE...",
    .summary =
        "Says which template line emitted a line of CUDA. Needs the .map file beside FILE.cu, which --out, expand -o\n"
        "and the cache write.",
    .examples = "  sagegen where kernels/fp4_d128.attn_fwd.q128_k128_s2_w8.sm_120a.bf16.none.cu:123\n",
    .options = options,
};

/* -- Files ---------------------------------------------------------------- */

// "a/kernel.cu" -> "a/kernel.map"
static char *map_path(const char *path) {
    struct buf out = {0};
    size_t len = strlen(path);
    if (len > 3 && strcmp(path + len - 3, ".cu") == 0) len -= 3;
    buf_printf(&out, "%.*s.map", (int)len, path);
    return out.data;
}

static bool read_file(const char *path, struct buf *out) {
    FILE *file = fopen(path, "re");
    char part[4096];
    size_t n;
    while (file && out->len <= MAP_BYTES_MAX && (n = fread(part, 1, sizeof part, file)) > 0) buf_append(out, part, n);
    bool ok = file && !ferror(file) && out->len <= MAP_BYTES_MAX;
    if (!ok) cmd_bad_input("%s: %s", path, file && !ferror(file) ? "too large" : strerror(errno));
    if (file) fclose(file);
    return ok;
}

static bool map_load(const char *cu_path, struct linemap *map) {
    char *path = map_path(cu_path);
    struct buf text = {0};
    buf_puts(&text, "");
    bool ok = read_file(path, &text);
    if (ok && !linemap_read(map, text.data, text.len)) {
        cmd_bad_input("%s is not a line map", path);
        ok = false;
    }
    buf_free(&text);
    free(path);
    return ok;
}

/* -- Answer ---------------------------------------------------------------- */

// The line's text, as the templates in use have it; without it where they have no such line.
static void print_place(const char *file, int line) {
    struct template_source source;
    bool found = template_read(cmd_template_dir(), file, &source);
    const char *at = found ? source.text : "";
    for (int i = 1; i < line && *at; i++) {
        at = strchrnul(at, '\n');
        at += *at == '\n';
    }
    printf("templates/%s:%d: %.*s\n", file, line, (int)strcspn(at, "\n"), at);
    if (found) template_source_free(&source);
}

// "FILE:LINE", also "FILE(LINE)" as NVRTC writes it.
static bool split(const char *word, char **path, int *line) {
    size_t mark = strlen(word);
    while (mark > 0 && word[mark - 1] != ':' && word[mark - 1] != '(') mark--;
    char *end;
    long number = mark > 0 ? strtol(word + mark, &end, 10) : 0;
    if (number < 1 || number > 1 << 30 || (*end && strcmp(end, ")") != 0) || mark < 2) return false;
    *path = xstrndup(word, mark - 1);
    *line = (int)number;
    return true;
}

static int where(const char *word) {
    char *path;
    int line, template_line;
    if (!split(word, &path, &line)) return cmd_bad_input("'%s' is not FILE.cu:LINE", word);
    struct linemap map = {0};
    int status = map_load(path, &map) ? CMD_DONE : CMD_BAD_INPUT;
    const char *file = status == CMD_DONE ? linemap_find(&map, line, &template_line) : NULL;
    if (file)
        print_place(file, template_line);
    else if (status == CMD_DONE && line > map.row_count)
        status = cmd_bad_input("%s has %d lines", path, map.row_count);
    else if (status == CMD_DONE)
        printf("line %d was made by sagegen itself\n", line);
    linemap_free(&map);
    free(path);
    return status;
}

int cmd_where(int argc, char **argv) {
    struct cmd_args args = {.syntax = &syntax, .argc = argc, .argv = argv};
    int status = CMD_DONE, words = 0, found;
    for (; (found = cmd_next(&args)) == CMD_WORD; words++) {
        int one = where(args.value);
        if (one > status) status = one;
    }
    if (found == CMD_STOP) return args.status;
    return words ? status : cmd_bad_input("no FILE.cu:LINE given; see sagegen where --help");
}
