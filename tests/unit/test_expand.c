// test_expand: the template language, the sandbox around it, and what errors say. Small templates are written to a
// temporary folder. SPDX-License-Identifier: Apache-2.0
#include "expand.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof(array)[0]))

/* -- Fixture ----------------------------------------------------------------------------------------------------- */

enum { FILES_MAX = 16 };

struct fixture {
    char dir[256];
    char files[FILES_MAX][300];
    int file_count;
    struct buf messages;
    struct diag diag;
    struct expand_env env;
    struct expansion out;
    bool ok;
};

static const float scales[] = {0.0883883461f, 1.0f, 6.0f};
static const char *const param_columns[] = {"type", "name", NULL};
static const char *const param_cells[] = {"const void *", "q", "int", "kv_len"};
static const struct expand_binding bindings[] = {
    {.name = "head_dim", .kind = EXPAND_INT, .number = 64},
    {.name = "masked", .kind = EXPAND_BOOL, .number = 0},
    {.name = "log2e", .kind = EXPAND_REAL, .real = 1.4426950408889634},
    {.name = "name", .kind = EXPAND_TEXT, .text = "demo"},
    {.name = "scale", .kind = EXPAND_F32_LIST, .number = 3, .floats = scales},
    {.name = "params", .kind = EXPAND_ROWS, .number = 2, .columns = param_columns, .cells = param_cells},
};

static struct diag_loc where(void *user, const char *field) {
    (void)user;
    if (strcmp(field, "head_dim") != 0) return (struct diag_loc){0};
    return (struct diag_loc){"specs/demo.yaml", 3, 11};
}

static int setup(void **state) {
    struct fixture *f = xcalloc(1, sizeof *f);
    snprintf(f->dir, sizeof f->dir, "%s/expand_XXXXXX", BUILD_DIR);
    if (!mkdtemp(f->dir)) return -1;
    f->diag.sink = &f->messages;
    f->env = (struct expand_env){bindings, COUNT(bindings), where, NULL, f->dir, 0};
    *state = f;
    return 0;
}

static int teardown(void **state) {
    static const char *const folders[] = {"stage", "ptx", "lib", ""};
    struct fixture *f = *state;
    for (int i = 0; i < f->file_count; i++) unlink(f->files[i]);
    for (int i = 0; i < COUNT(folders); i++) {
        char path[300];
        snprintf(path, sizeof path, "%s/%s", f->dir, folders[i]);
        rmdir(path);
    }
    expansion_free(&f->out);
    diag_free(&f->diag);
    buf_free(&f->messages);
    free(f);
    return 0;
}

// Writes a file of the template folder; an earlier one of that name is replaced.
static void put_bytes(struct fixture *f, const char *name, const char *text, size_t len) {
    char path[300];
    const char *slash = strchr(name, '/');
    if (slash) {
        snprintf(path, sizeof path, "%s/%.*s", f->dir, (int)(slash - name), name);
        mkdir(path, 0700);
    }
    snprintf(path, sizeof path, "%.200s/%.90s", f->dir, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
    for (int i = 0; i < f->file_count; i++)
        if (strcmp(f->files[i], path) == 0) return;
    assert_true(f->file_count < FILES_MAX);
    snprintf(f->files[f->file_count++], sizeof f->files[0], "%s", path);
}

static void put(struct fixture *f, const char *name, const char *text) {
    put_bytes(f, name, text, strlen(text));
}

static void expand_file(struct fixture *f, const char *name) {
    expansion_free(&f->out);
    buf_clear(&f->messages);
    f->diag.errors = 0;
    f->ok = expand_template(name, &f->env, &f->diag, &f->out);
}

static void expand_text(struct fixture *f, const char *text) {
    put(f, "t.cu.tl", text);
    expand_file(f, "t");
}

static const char *messages(const struct fixture *f) {
    return f->messages.data ? f->messages.data : "";
}

static void expect_output(struct fixture *f, const char *template, const char *expected) {
    expand_text(f, template);
    if (!f->ok) print_error("%s\n%s", template, messages(f));
    assert_true(f->ok);
    assert_string_equal(f->out.text.data, expected);
    int lines = 0;
    for (const char *p = f->out.text.data; *p; p++) lines += *p == '\n';
    assert_int_equal(f->out.map.row_count, lines);
}

static void expect_error_here(struct fixture *f, const char *what, const char *expected) {
    assert_false(f->ok);
    assert_null(f->out.text.data);
    assert_int_equal(f->out.map.row_count, 0);
    assert_int_equal(f->diag.errors, 1);
    if (!strstr(messages(f), expected)) fail_msg("for: %s\nexpected: %s\ngot: %s", what, expected, messages(f));
    assert_null(strstr(messages(f), f->dir));
}

static void expect_error(struct fixture *f, const char *template, const char *expected) {
    expand_text(f, template);
    expect_error_here(f, template, expected);
}

static char *read_file(const char *path) {
    struct buf text = {0};
    char chunk[4096];
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, file)) > 0;) buf_append(&text, chunk, n);
    fclose(file);
    return text.data;
}

/* -- Text -------------------------------------------------------------------------------------------------------- */

static void test_demo_is_golden(void **state) {
    struct fixture *f = *state;
    f->env.template_dir = SOURCE_DIR "/tests/data/templates";
    expand_file(f, "attn_demo");
    assert_string_equal(messages(f), "");
    struct buf map = {0};
    linemap_write(&f->out.map, &map);
    char *text = read_file(SOURCE_DIR "/tests/data/templates/attn_demo.expected");
    char *rows = read_file(SOURCE_DIR "/tests/data/templates/attn_demo.map");
    assert_string_equal(f->out.text.data, text);
    assert_string_equal(map.data, rows);
    free(text);
    free(rows);
    buf_free(&map);
}

static void test_text_rules(void **state) {
    struct fixture *f = *state;
    expect_output(f, "a;\n\n\n \t\nb;   \t\n", "a;\n\nb;\n");
    expect_output(f, "\n\na;\n\n\n", "a;\n");
    expect_output(f, "a;\r\n@ local x = 1\r\nb${x};\r\n", "a;\nb1;\n");
    expect_output(f, "a;", "a;\n");
    expect_output(f, "   @ local x = 2 -- indented marker\n@ -- comment\n${x}\n", "2\n");
    expect_output(f, "@local x = 2\n@\nx${x}y${x}z\n", "x2y2z\n");
    expect_output(f, "\"quoted\\n\" $ {x} $$ 'q' \\ ? %d %%\n", "\"quoted\\n\" $ {x} $$ 'q' \\ ? %d %%\n");
    expect_output(f, "a$\n$${head_dim}\n${\"$\"}{x} ${\"@\"}\n", "a$\n$64\n${x} @\n");
    expect_output(f, "@ for i = 1, 2 do\nx${i};\n@ end\n", "x1;\nx2;\n");
    expect_output(f, "@ local t = {\n@   a = 1,\n@ }\n${t.a}\n", "1\n");
    expect_output(f, "@ local f = type\nx;\n", "x;\n"); // a text line is never a call of what precedes it
    expect_output(f, "x;\n@ return\n", "x;\n");
    expect_output(f, "", "");
    expect_output(f, "@ -- nothing\n", "");
    expect_output(f, "${#\"}\"} ${({a = 1}).a} ${name}\n", "1 1 demo\n");
    expect_output(f, "a\tb\t;\t\n\xc3\xa9 = \xff;\n", "a\tb\t;\n\xc3\xa9 = \xff;\n");
}

static void test_values(void **state) {
    struct fixture *f = *state;
    expect_output(f, "${1} ${-7 // 2} ${true} ${masked} ${name} ${head_dim} ${1 << 40} ${\"\"}|\n",
                  "1 -4 true false demo 64 1099511627776 |\n");
    expect_output(f, "${math.mininteger}\n", "-9223372036854775808\n");
    expect_error(f, "a\n${nil}", "templates/t.cu.tl:2:1: error: ${nil} is nil\n");
    expect_error(f, "${1}, ${ head_dim / 2 }", "t.cu.tl:1:1: error: ${ head_dim / 2 } is the float 32.0: use f32()");
    expect_error(f, "${scale[1]}", "is the float 0.088388");
    expect_error(f, "${scale}", "${scale} is a table");
    expect_error(f, "${need}", "${need} is a function");
    expect_error(f, "${\"a\\nb\"}", "holds a line end: use emit()");
    expect_error(f, "${\"a\\0b\"}", "holds a line end");
    expect_error(f, "${tonumber(\"x\")}", "${tonumber(\"x\")} is nil");
    expect_error(f, "x\nf(${head_dim);\n", "templates/t.cu.tl:2:1: error: unbalanced brackets in ${}");
    expect_error(f, "f(${head_dim", "unclosed ${");
    expect_error(f, "f(${\"head_dim)})", "unclosed ${");
    expect_error(f, "${ }", "empty ${}");
    expect_error(f, "${x -- y}", "comment in ${}");
    expect_error(f, "${a) .. (b}", "unbalanced brackets in ${}");
    expect_error(f, "${1, 2}", "')' expected near ','");
    expect_error(f, "${a[1}", "unbalanced brackets");
}

static void test_f32(void **state) {
    struct fixture *f = *state;
    expect_output(f, "${f32(scale[1])} ${f32(1)} ${f32(-2.5)} ${f32(1e10)} ${f32(1e-30)} ${f32(0.1)} ${f32(-0.0)}\n",
                  "0.0883883461f 1.0f -2.5f 1.0e+10f 1.0e-30f 0.100000001f -0.0f\n");
}

static void test_f32_refuses(void **state) {
    struct fixture *f = *state;
    expect_error(f, "${f32(math.huge)}", "f32: the number is not a finite float");
    expect_error(f, "${f32(1e300)}", "f32: the number is not a finite float");
    expect_error(f, "${f32(0.0 / 0.0)}", "f32: nan is not a finite float");
    expect_error(f, "${f32(nil)}", "bad argument #1 to 'f32' (number expected, got nil)");
}

/* -- Names ------------------------------------------------------------------------------------------------------- */

static void test_bindings(void **state) {
    struct fixture *f = *state;
    expect_output(f, "${#params} ${#scale}\n@ for i, p in ipairs(params) do\n${i} ${p.type} ${p.name};\n@ end\n",
                  "2 3\n1 const void * q;\n2 int kv_len;\n");
    expect_output(f, "${table.unpack({name, name}, 2)} ${select(2, table.unpack(scale)) == 1}\n", "demo true\n");
    expect_error(f, "@ local a = 1\n${a + hed_dim}", "templates/t.cu.tl:2:1: error: undefined name 'hed_dim'\n");
    expect_output(f, "${f32(log2e)}\n", "1.44269502f\n");
    expect_error(f, "${log2e}", "${log2e} is the float 1.44269504");
    expect_error(f, "${params[1].kind}", "undefined name 'params[1].kind'");
    expect_error(f, "${params[3]}", "${params[3]} is nil");
    expect_error(f, "@ params[1].type = \"x\"", "assignment to field 'type' of a read-only table");
    expect_error(f, "@ params[1] = nil", "assignment to a read-only table");
    expect_error(f, "@ scale[1] = 2.0", "assignment to a read-only table");
    expect_error(f, "@ table.insert(scale, 2.0)", "assignment to a read-only table");
    expect_error(f, "@ head_dim = 32", "t.cu.tl:1:1: error: assignment to global 'head_dim': write local");
    expect_error(f, "@ function f() end", "assignment to global 'f'");
    expect_error(f, "@ _ENV.x = 1", "assignment to global 'x'");
    expect_error(f, "@ _ENV[1] = 1", "assignment to global 'number'");
    expect_error(f, "@ math.floor = nil", "assignment to field 'floor'");
    expect_error(f, "@ string.x = 1", "assignment to field 'x'");
}

static void test_bad_bindings(void **state) {
    struct fixture *f = *state;
    static const struct expand_binding twice[] = {{.name = "a", .kind = EXPAND_INT}, {.name = "a", .kind = EXPAND_INT}};
    static const struct expand_binding hides[] = {{.name = "stage", .kind = EXPAND_INT}};
    static const struct expand_binding no_name[] = {{.name = "a.b", .kind = EXPAND_INT}};
    f->env.bindings = twice;
    f->env.binding_count = 2;
    expect_error(f, "x", "binding 'a' is given twice");
    f->env.bindings = hides;
    f->env.binding_count = 1;
    expect_error(f, "x", "hides a built-in name");
    f->env.bindings = no_name;
    expect_error(f, "x", "binding 'a.b' is no name");
}

static void test_arguments(void **state) {
    struct fixture *f = *state;
    put(f, "stage/s.cu.tl", "${head_dim} ${masked} ${extra}\n");
    expect_output(f, "@ stage(\"s\", {masked = true, extra = \"e\"})\n${masked}\n", "64 true e\nfalse\n");
    expect_error(f, "@ stage(\"s\")", "templates/stage/s.cu.tl:1:1: error: undefined name 'extra'");
    assert_non_null(strstr(messages(f), "templates/t.cu.tl:1:1: note: included from here\n@ stage(\"s\")\n"));
    expect_error(f, "@ local extra = 1\n@ stage(\"s\")",
                 "undefined name 'extra'"); // locals of the includer are not seen
    expect_error(f, "@ stage(\"s\", {need = 1})", "argument 'need' hides a built-in name");
    expect_error(f, "@ stage(\"s\", {1})", "arguments are given by name");
    expect_error(f, "@ stage(\"s\", {[\"a b\"] = 1})", "arguments are given by name");
    expect_error(f, "@ stage(\"s\", 1)", "bad argument #2 to 'stage' (table expected, got number)");
    expect_error(f, "@ stage()", "bad argument #1 to 'stage'");
    put(f, "stage/inner.cu.tl", "${extra}\n");
    put(f, "stage/s.cu.tl", "@ include(\"stage/inner\")\n");
    expect_error(f, "@ stage(\"s\", {extra = 1})",
                 "templates/stage/inner.cu.tl:1:1: error: undefined name 'extra'"); // not inherited
    put(f, "stage/s.cu.tl", "${t.a} ${f(3)} ${row.name}\n");
    expect_output(f, "@ stage(\"s\", {t = {a = 5}, f = function(n) return n * head_dim end, row = params[2]})\n",
                  "5 192 kv_len\n");
    put(f, "stage/s.cu.tl", "${type} ${name}\n");
    expect_error(f, "@ stage(\"s\", params[1])",
                 "argument 'type' hides a built-in name"); // read-only tables can be arguments
}

static void test_template_names(void **state) {
    struct fixture *f = *state;
    expect_error(f, "a\n@ stage(\"nope\")",
                 "templates/t.cu.tl:2:1: error: no file templates/stage/nope.cu.tl\n@ stage");
    assert_null(strstr(messages(f), "note:"));
    static const char *const bad[] = {"../t", "/etc/passwd", "a//b", "a/", "", "A", "a.b", "a\\\\b", "a\\0b", "./a"};
    for (int i = 0; i < COUNT(bad); i++) {
        char text[64];
        snprintf(text, sizeof text, "@ include(\"%s\")", bad[i]);
        expand_text(f, text);
        assert_false(f->ok);
        assert_non_null(strstr(messages(f), i == 8 ? "no file templates/a.cu.tl" : "bad template name"));
    }
    expand_file(f, "no_such_skeleton");
    expect_error_here(f, "skeleton", "error: no file templates/no_such_skeleton.cu.tl\n");
    expand_file(f, "../t");
    expect_error_here(f, "skeleton", "bad template name");
    f->env.template_dir = NULL;
    expand_file(f, "no_such_skeleton");
    expect_error_here(f, "embedded", "error: no file templates/no_such_skeleton.cu.tl\n");
}

static void test_files(void **state) {
    struct fixture *f = *state;
    put_bytes(f, "t.cu.tl", "a\0b\n", 4);
    expand_file(f, "t");
    expect_error_here(f, "NUL byte", "no file templates/t.cu.tl");
    put_bytes(f, "lib/m.lua", "\x1bLua\x54", 5);
    expect_error(f, "@ use(\"m\")", "unexpected symbol near '<\\27>'");
}

/* -- Inclusion --------------------------------------------------------------------------------------------------- */

static void test_indentation(void **state) {
    struct fixture *f = *state;
    put(f, "stage/s.cu.tl", "@ -- s: two lines\ns(1);\n    s(2);\n");
    expect_output(f, "@ stage(\"s\")\n", "s(1);\n    s(2);\n");
    expect_output(f, "{\n@ stage(\"s\")\n}\n", "{\n    s(1);\n        s(2);\n}\n");
    expect_output(f, "  for (;;) {   // head {\n@ stage(\"s\")\n  }\n",
                  "  for (;;) {   // head {\n      s(1);\n          s(2);\n  }\n");
    expect_output(f, "    x; // {\n@ stage(\"s\")\n", "    x; // {\n    s(1);\n        s(2);\n");
    expect_output(f, "{ /* open */\n\n@ stage(\"s\")\n", "{ /* open */\n\n    s(1);\n        s(2);\n");
    expect_output(f, "    {\n        x;\n    }\n@ stage(\"s\")\n",
                  "    {\n        x;\n    }\n    s(1);\n        s(2);\n");
    expect_output(f, "    asm(\"{ // {\"\n        :: \"r\"(x));\n@ stage(\"s\")\n",
                  "    asm(\"{ // {\"\n        :: \"r\"(x));\n    s(1);\n        s(2);\n");
    expect_output(f, "void f(int a,\n       int b) {\n@ stage(\"s\")\n}\n",
                  "void f(int a,\n       int b) {\n    s(1);\n        s(2);\n}\n");
    expect_output(f, "  c = '(';\n@ stage(\"s\")\n", "  c = '(';\n  s(1);\n      s(2);\n");
    expect_output(f, "  /* (\n ( */ x;\n@ stage(\"s\")\n", "  /* (\n ( */ x;\n s(1);\n     s(2);\n");
    put(f, "stage/outer.cu.tl", "if (x) {\n@ stage(\"s\")\n}\ny;\n");
    expect_output(f, "{\n@ stage(\"outer\")\nz;\n}\n",
                  "{\n    if (x) {\n        s(1);\n            s(2);\n    }\n    y;\nz;\n}\n");
    expect_output(f, "    a;\n@ include(\"stage/s\")\n@ stage(\"s\")\n",
                  "    a;\n    s(1);\n        s(2);\n        s(1);\n            s(2);\n");
}

static void test_emit(void **state) {
    struct fixture *f = *state;
    expect_output(f, "{\n@ emit(\"a;\\n  b;\\n\\n\\nc;\\n\")\n}\n", "{\n    a;\n      b;\n\n    c;\n}\n");
    expect_output(
        f, "@ local function store(i)\n@   emit(string.format(\"o[%d] = 0;\", i))\n@ end\n@ store(1)\n@ store(2)\n",
        "o[1] = 0;\no[2] = 0;\n");
    assert_int_equal(f->out.map.rows[0].line, 2);
    expect_output(f, "@ emit(\"\")\nx;\n", "x;\n");
    expect_error(f, "@ emit(nil)", "bad argument #1 to 'emit' (string expected, got nil)");
    expect_error(f, "@ emit(\"a\\0\")", "NUL byte");
}

static void expect_map(const struct fixture *f, int output_line, const char *file, int line) {
    int got = 0;
    const char *name = linemap_find(&f->out.map, output_line, &got);
    assert_non_null(name);
    assert_string_equal(name, file);
    assert_int_equal(got, line);
}

static void test_wrappers(void **state) {
    struct fixture *f = *state;
    put(f, "ptx/mma.cu.tl", "@ -- mma\n\nvoid mma_k${k}();\n@ ptx(\"fence\")\n\n\n");
    put(f, "ptx/fence.cu.tl", "void fence() {\n}\n");
    const char *early = "head;\n@ wrappers()\nvoid k() {\n@ ptx(\"mma\", {k = 8})\n@ ptx(\"fence\")\n@ ptx(\"mma\", {k "
                        "= 8})\n@ ptx(\"mma\", {k = 4})\n}\n";
    const char *text = "head;\nvoid fence() {\n}\n\nvoid mma_k8();\n\nvoid mma_k4();\n\nvoid k() {\n}\n";
    expect_output(f, early, text);
    expect_map(f, 1, "t.cu.tl", 1);
    expect_map(f, 2, "ptx/fence.cu.tl", 1);
    expect_map(f, 5, "ptx/mma.cu.tl", 3);
    expect_map(f, 9, "t.cu.tl", 3);
    expect_map(f, 10, "t.cu.tl", 8);
    expect_output(f, "@ ptx(\"mma\", {k = 8}, {k = 4})\nhead;\n@ wrappers()\nvoid k() {\n}\n", text);
    expect_output(f, "a;\n\n@ wrappers()\n\nb;\n", "a;\n\nb;\n");
    expect_output(f, "    a;\n\n@ wrappers()\n@ ptx(\"fence\")\n    b;\n", "    a;\n\nvoid fence() {\n}\n\n    b;\n");
    expect_error(f, "x;\n@ ptx(\"fence\")\n",
                 "templates/t.cu.tl: error: ptx() was used, but wrappers() was not called");
    expect_error(f, "@ wrappers()\n@ wrappers()\n", "t.cu.tl:2:1: error: wrappers() called twice");
    expect_error(f, "@ ptx(\"mma\", {k = 1.5})\n", "ptx: argument 'k' is a float, not a string, integer or boolean");
    expect_error(f, "@ ptx(\"mma\", {k = {}})\n", "ptx: argument 'k' is a table");
    expect_error(f, "${ptx(\"fence\")}\n@ wrappers()\n", "${ptx(\"fence\")} is nil"); // ptx() returns nothing
    put(f, "ptx/fence.cu.tl", "@ wrappers()\n");
    expect_error(f, "@ ptx(\"fence\")\n", "templates/ptx/fence.cu.tl:1:1: error: wrappers() called in a wrapper");
    assert_non_null(strstr(messages(f), "templates/t.cu.tl:1:1: note: requested from here"));
    put(f, "ptx/fence.cu.tl", "@ ptx(\"other\")\n");
    put(f, "ptx/other.cu.tl", "@ ptx(\"fence\")\n");
    expect_error(f, "@ ptx(\"fence\")\n", "ptx/other.cu.tl:1:1: error: ptx wrapper 'fence' requests itself");
}

static void test_wrapper_keys(void **state) {
    struct fixture *f = *state;
    put(f, "ptx/w.cu.tl", "w(${a}, ${b});\n");
    expect_output(f, "@ wrappers()\n@ ptx(\"w\", {a = 1, b = 2})\n@ ptx(\"w\", {b = 2, a = 1})\n", "w(1, 2);\n");
    expect_output(f, "@ wrappers()\n@ ptx(\"w\", {a = 1, b = 2}, {a = \"1\", b = 2}, {a = true, b = \"true\"})\n",
                  "w(1, 2);\n\nw(1, 2);\n\nw(true, true);\n");
    expect_output(f, "@ wrappers()\n@ ptx(\"w\", {a = \"x;b=s1:y\", b = \"z\"}, {a = \"x\", b = \"y;b=s1:z\"})\n",
                  "w(x;b=s1:y, z);\n\nw(x, y;b=s1:z);\n");
}

/* -- Modules and need -------------------------------------------------------------------------------------------- */

static void test_modules(void **state) {
    struct fixture *f = *state;
    put(f, "lib/m.lua",
        "local M = {k = 8, rows = {{n = 1}, {n = 2}}}\nfunction M.twice(x)\n  return 2 * x\nend\nM.self = M\nreturn "
        "M\n");
    expect_output(
        f, "@ local m = use(\"m\")\n${m.k} ${m.twice(4)} ${#m.rows} ${m.rows[2].n} ${m.self.k} ${use(\"m\") == m}\n",
        "8 8 2 2 8 true\n");
    expect_output(f, "@ for i, r in ipairs(use(\"m\").rows) do\n${i} ${r.n}\n@ end\n", "1 1\n2 2\n");
    expect_error(f, "${use(\"m\").nope}", "t.cu.tl:1:1: error: undefined name 'm.nope'");
    expect_error(f, "@ use(\"m\").k = 1", "assignment to field 'k' of a read-only table");
    expect_error(f, "@ use(\"m\").rows[1].n = 1", "assignment to field 'n' of a read-only table");
    expect_error(f, "\n${use(\"m\").twice({})}",
                 "templates/lib/m.lua:3:1: error: attempt to perform arithmetic on a table value (local 'x')");
    assert_non_null(strstr(messages(f), "templates/t.cu.tl:2:1: note: called from here"));
    assert_non_null(strstr(messages(f), "  return 2 * x\n"));
    expect_error(f, "@ use(\"nope\")", "no file templates/lib/nope.lua");
    expect_error(f, "@ use(\"../m\")", "bad template name");
    put(f, "lib/m.lua", "local x = 1\nreturn 5\n");
    expect_error(f, "@ use(\"m\")", "templates/lib/m.lua: error: module 'm' returned no table");
    put(f, "lib/m.lua", "return {\n");
    expect_error(f, "a\n@ use(\"m\")", "templates/lib/m.lua:");
    assert_non_null(strstr(messages(f), "templates/t.cu.tl:2:1: note: used from here"));
    put(f, "lib/m.lua", "return {v = use(\"n\").v}\n");
    put(f, "lib/n.lua", "return {v = use(\"m\").v}\n");
    expect_error(f, "@ use(\"m\")", "templates/lib/n.lua:1:1: error: module 'm' uses itself");
    put(f, "lib/n.lua", "return {v = f32(2)}\n");
    expect_output(f, "${use(\"m\").v}\n", "2.0f\n");
    static const char *const absent[] = {"stage", "include",  "ptx",  "wrappers", "need",
                                         "emit",  "head_dim", "name", "io",       "_G"};
    for (int i = 0; i < COUNT(absent); i++) {
        char text[64];
        snprintf(text, sizeof text, "return {v = %s}\n", absent[i]);
        put(f, "lib/m.lua", text);
        expect_error(f, "@ use(\"m\")", "templates/lib/m.lua:1:1: error: undefined name");
    }
    put(f, "lib/m.lua", "x = 1\nreturn {}\n");
    expect_error(f, "@ use(\"m\")", "templates/lib/m.lua:1:1: error: assignment to global 'x'");
}

static void test_need(void **state) {
    struct fixture *f = *state;
    static const char spec[] = "kernel: attention_forward\nname: demo\nhead_dim: 64\n";
    diag_add_source(&f->diag, "specs/demo.yaml", spec, sizeof spec - 1);
    expect_output(f, "@ need(head_dim == 64, \"head_dim\", \"must be %d\", 64)\nx;\n", "x;\n");
    expect_error(f, "a\n@ need(head_dim > 64, \"head_dim\", \"%d is too small for %s\", head_dim, name)\n",
                 "templates/t.cu.tl:2:1: error: head_dim: 64 is too small for demo\n@ need(head_dim");
    assert_non_null(strstr(messages(f), "specs/demo.yaml:3:11: note: head_dim set here\nhead_dim: 64\n"));
    expect_error(f, "@ need(false, \"other\", \"x\")\n", "error: other: x\n");
    assert_null(strstr(messages(f), "set here"));
    expect_error(f, "@ need(nil, \"other\")\n", "error: other: not supported\n");
    expect_error(f, "@ need(false, \"other\", \"%d\", \"x\")\n", "t.cu.tl:1:1: error: bad argument #2 to 'need'");
    expect_error(f, "@ need()\n", "bad argument #1 to 'need'");
    f->env.where = NULL;
    expect_error(f, "@ need(false, \"head_dim\", \"x\")\n", "error: head_dim: x\n");
}

/* -- Sandbox ----------------------------------------------------------------------------------------------------- */

static void test_absent_names(void **state) {
    struct fixture *f = *state;
    static const char *const names[] = {"io",
                                        "os",
                                        "require",
                                        "load",
                                        "loadstring",
                                        "loadfile",
                                        "dofile",
                                        "debug",
                                        "package",
                                        "coroutine",
                                        "collectgarbage",
                                        "pairs",
                                        "next",
                                        "setmetatable",
                                        "getmetatable",
                                        "rawset",
                                        "rawget",
                                        "rawequal",
                                        "rawlen",
                                        "print",
                                        "pcall",
                                        "xpcall",
                                        "_G",
                                        "_VERSION",
                                        "warn",
                                        "utf8",
                                        "string.dump",
                                        "string.pack",
                                        "string.unpack",
                                        "table.move",
                                        "math.random",
                                        "math.randomseed",
                                        "string.__index"};
    for (int i = 0; i < COUNT(names); i++) {
        char text[64], expected[96];
        snprintf(text, sizeof text, "@ local x = %s\n", names[i]);
        snprintf(expected, sizeof expected, "templates/t.cu.tl:1:1: error: undefined name '%s'", names[i]);
        expect_error(f, text, expected);
    }
    expect_error(f, "@ local x = (\"\").dump", "undefined name 'string.dump'");
    expect_error(f, "@ local x = (\"\").__index", "undefined name 'string.__index'");
    expect_error(f, "${\"10\" + 1}", "attempt to perform arithmetic on a string value");
    expect_error(f, "@ local _ENV = {}\nx;\n@ local y = io.open", "attempt to index a nil value (global 'io')");
    expect_output(f, "@ local f, e = ...\n${type(e)} ${tostring(e)} ${tostring(f)} ${tostring(1)} ${tostring(nil)}\n",
                  "table table function 1 nil\n");
    expect_error(f, "@ local f = ...\n@ f()\n", "bad argument #1 to 'f'");
    expect_error(f, "@ local f = ...\n@ f(99, 1.5)\n", "is the float 1.5");
}

static void test_basics(void **state) {
    struct fixture *f = *state;
    expect_output(f, "${math.max(1, 2)} ${math.tointeger(4.0)} ${math.floor(2.5)} ${math.type(1)}\n",
                  "2 4 2 integer\n");
    expect_output(
        f, "${(\"ab\"):rep(2, \",\")} ${(\"x\"):rep(0)}|${string.rep(\"\", math.maxinteger)}|${(\"x\"):rep(-1)}\n",
        "ab,ab ||\n");
    expect_output(f, "${string.format(\"%5.2f|%s|%d|%%\", 1.5, true, 3)} ${(\"abc\"):upper():sub(2)}\n",
                  " 1.50|true|3|% BC\n");
    expect_output(
        f, "${(\"a1b2\"):gsub(\"%d\", \"_\")} ${(\"k=v\"):match(\"^(%w+)=\")} ${(\"a.b\"):find(\".\", 1, true)}\n",
        "a_b_ k 2\n");
    expect_output(f, "@ local t = {3, 1, 2}\n@ table.sort(t)\n@ table.insert(t, 9)\n${table.concat(t, \" \")}\n",
                  "1 2 3 9\n");
    expect_output(f, "@ for w in (\"a b\"):gmatch(\"%a\") do\n${w}\n@ end\n", "a\nb\n");
    expect_error(f, "@ assert(false, \"told\")", "templates/t.cu.tl:1:1: error: told\n");
    expect_error(f, "@ assert(1 == 2)", "t.cu.tl:1:1: error: assertion failed!");
    expect_error(f, "@ local t = {}\n@ for i = 1, 129 do t[i] = i end\n@ table.sort(t)",
                 "t.cu.tl:3:1: error: table.sort: more than 128 items");
    expect_error(f, "${string.format(\"%p\", \"x\")}", "%p is not available");
    expect_error(f, "${string.format(\"%-10p\", \"x\")}", "%p is not available");
    expect_error(f, "${string.format(\"%s\", {})}", "string.format: argument 2 is a table");
    expect_error(f, "${string.format(\"%d\", \"x\")}",
                 "t.cu.tl:1:1: error: bad argument #2 to 'format' (number expected, got string)");
    expect_error(f, "${(\"x\"):rep(nil)}", "number expected, got nil");
}

static void test_limits(void **state) {
    struct fixture *f = *state;
    expect_error(f, "@ local x = (\"x\"):rep(1e9)", "t.cu.tl:1:1: error: string.rep: result above");
    expect_error(f, "@ local x = string.rep(\"x\", math.maxinteger, \"yy\")", "string.rep: result above");
    expect_error(f, "x;\n@ local s = \"0123456789abcdef\"\n@ while true do s = s .. s end",
                 "templates/t.cu.tl:1:1: error: template code uses more than 256 MiB");
    expect_error(f, "x;\n@ local t = {}\n@ for i = 1, 1e9 do t[i] = i end", "template code uses more than 256 MiB");
    expect_error(f, "@ local function f(n) return 1 + f(n) end\n@ f(1)", "t.cu.tl:1:1: error: stack overflow");
    expect_error(f, "@ local x = (\"a\"):rep(60):find((\"a?\"):rep(60) .. (\"a\"):rep(60))",
                 "pattern has too many repetitions");
    expect_error(f, "@ local x = (\"a\"):rep(100000):match(\".-.-.-b\")", "pattern has too many repetitions");
    expect_error(f, "@ for i = 1, 1e9 do\n@ emit((\"x\"):rep(1000000))\n@ end",
                 "t.cu.tl:2:1: error: output above 16 MiB");
    expect_error(f, "@ for i = 1, 1e9 do\n${(\"x\"):rep(1000000)}\n@ end", "t.cu.tl:2:1: error: output above 16 MiB");
    expect_error(f, "@ t = (\"(\"):rep(300) .. 1", "assignment to global");
    expect_error(f, "@ include(\"t\")", "t.cu.tl:1:1: error: templates nested deeper than 32 files");
    expect_error(f, "@ local x = table.unpack({}, 1, 1e8)", "too many results to unpack");
    expect_error(f, "@ local x = table.concat({}, \"x\", 1, 1 << 62)", "at index 1");
    f->env.step_limit = 1000000;
    expect_error(f, "x\n@ while true do\n@ end",
                 "templates/t.cu.tl:2:1: error: template code ran more than 1000000 steps");
    expect_error(f, "@ goto x\n@ ::x:: goto x", "ran more than 1000000 steps");
    f->env.step_limit = 10;
    expect_error(f, "@ while true do\n@ end", "ran more than 10 steps");
    f->env.step_limit = 0;
    expect_error(f, "@ while true do end", "ran more than 50000000 steps");
    struct buf deep = {0};
    buf_puts(&deep, "@ local x = ");
    for (int i = 0; i < 1000; i++) buf_puts(&deep, "(");
    expect_error(f, deep.data, "templates/t.cu.tl: error: C stack overflow");
    buf_free(&deep);
}

/* -- Errors ------------------------------------------------------------------------------------------------------ */

static void test_error_objects(void **state) {
    struct fixture *f = *state;
    expect_error(f, "\n@ error({code = 1})", "templates/t.cu.tl:2:1: error: error object is a table, not a text\n");
    expect_error(f, "@ error()", "error object is a nil");
    expect_error(f, "@ error(\"\", 0)", "error without a text");
    expect_error(f, "@ error(\"plain\")", "t.cu.tl:1:1: error: plain\n");
    expect_error(f, "@ error(12)", "t.cu.tl:1:1: error: 12\n");
    expect_error(f, "@ error(\"no position\", 0)", "t.cu.tl:1:1: error: no position\n");
    expect_error(f, "@ local function f()\n@   error(\"caller\", 2)\n@ end\n@ f()\n", "t.cu.tl:4:1: error: caller\n");
    expect_error(f, "@ error(\"@7:3: forged\", 0)", "error: forged");
    expect_error(f, "@ error(\"@99999999999999999999:3: forged\", 0)", "forged");
    expect_error(f, "@ error(\"%s%n \\27[31m\")", "error: %s%n \\x1b[31m");
    expect_error(f, "@ local x = nil + 1", "attempt to perform arithmetic on a nil value");
    expect_error(f, "@ local t = {}\n@ t.x.y = 1", "t.cu.tl:2:1: error: attempt to index a nil value (field 'x')");
}

static void test_syntax_errors(void **state) {
    struct fixture *f = *state;
    expect_error(f, "a;\n@ for i = 1, 3\nb;\n",
                 "templates/t.cu.tl:3:1: error: 'do' expected before this line of text\nb;\n^\n");
    expect_error(f, "a;\n@ for i = 1, 3 do\nb;\n", "'end' expected (to close 'for' at line 2) near <eof>");
    expect_error(f, "a;\n@ end\n", "t.cu.tl:2:1: error: <eof> expected near 'end'");
    expect_error(f, "\n\n${1 +}\n", "t.cu.tl:3:1: error: unexpected symbol near ')'");
    put(f, "stage/s.cu.tl", "x;\n@ if\n");
    put(f, "stage/m.cu.tl", "\n@ stage(\"s\")\n");
    expect_error(f, "\n\n@ stage(\"m\")\n", "templates/stage/s.cu.tl:");
    const char *inner = strstr(messages(f), "templates/stage/m.cu.tl:2:1: note: included from here\n@ stage(\"s\")\n");
    assert_non_null(inner);
    assert_non_null(strstr(inner, "templates/t.cu.tl:3:1: note: included from here\n@ stage(\"m\")\n"));
}

static void test_call_chain(void **state) {
    struct fixture *f = *state;
    put(f, "stage/s.cu.tl", "@ local function g(x)\n${x.y.z}\n@ end\n@ g({})\n");
    expect_error(f, "@ stage(\"s\")\n",
                 "templates/stage/s.cu.tl:2:1: error: attempt to index a nil value (field 'y')\n${x.y.z}\n^\n"
                 "templates/stage/s.cu.tl:4:1: note: called from here\n@ g({})\n^\n"
                 "templates/t.cu.tl:1:1: note: included from here\n@ stage(\"s\")\n^\n");
}

/* -- Whole runs -------------------------------------------------------------------------------------------------- */

static void test_same_input_same_bytes(void **state) {
    struct fixture *f = *state;
    struct expansion first;
    f->env.template_dir = SOURCE_DIR "/tests/data/templates";
    assert_true(expand_template("attn_demo", &f->env, &f->diag, &first));
    for (int i = 0; i < 20; i++) {
        expand_file(f, "attn_demo");
        assert_string_equal(f->out.text.data, first.text.data);
    }
    expansion_free(&first);
}

static void test_recursion_keeps_environments_apart(void **state) {
    struct fixture *f = *state;
    put(f, "stage/r.cu.tl",
        "@ local function show() emit(string.format(\"n %d;\", n)) end\n@ if n > 0 then\n@ stage(\"r\", {n = n - "
        "1})\n@ end\n@ show()\n");
    expect_output(f, "@ stage(\"r\", {n = 2})\n", "n 0;\nn 1;\nn 2;\n");
}

static void test_bundle_hash(void **state) {
    struct fixture *f = *state;
    uint64_t empty = expand_bundle_hash(f->dir);
    put(f, "a.cu.tl", "x\n");
    uint64_t one = expand_bundle_hash(f->dir);
    assert_true(one != empty);
    put(f, "a.cu.tl~", "editor's copy\n");
    put(f, "stage/B.txt", "x\n");
    assert_true(expand_bundle_hash(f->dir) == one);
    put(f, "a.cu.tl", "y\n");
    uint64_t changed = expand_bundle_hash(f->dir);
    assert_true(changed != one);
    put(f, "lib/m.lua", "return {}\n");
    assert_true(expand_bundle_hash(f->dir) != changed);
    put(f, "a.cu.tl", "x\n");
    unlink(f->files[f->file_count - 1]);
    assert_true(expand_bundle_hash(f->dir) == one);
    assert_true(expand_bundle_hash(NULL) ==
                expand_bundle_hash(SOURCE_DIR "/templates")); // the embedded copy is the source folder's
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_demo_is_golden),
        TEST(test_text_rules),
        TEST(test_values),
        TEST(test_f32),
        TEST(test_f32_refuses),
        TEST(test_bindings),
        TEST(test_bad_bindings),
        TEST(test_arguments),
        TEST(test_template_names),
        TEST(test_files),
        TEST(test_indentation),
        TEST(test_emit),
        TEST(test_wrappers),
        TEST(test_wrapper_keys),
        TEST(test_modules),
        TEST(test_need),
        TEST(test_absent_names),
        TEST(test_basics),
        TEST(test_limits),
        TEST(test_error_objects),
        TEST(test_syntax_errors),
        TEST(test_call_chain),
        TEST(test_same_input_same_bytes),
        TEST(test_recursion_keeps_environments_apart),
        TEST(test_bundle_hash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
