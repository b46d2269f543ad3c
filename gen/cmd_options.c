// cmd_options: reads a command line by a command's option table, prints help from the same table, and says which known
// word an unknown one is nearest to. Knows no command.
// SPDX-License-Identifier: Apache-2.0
#include "cmd.h"

#include "suggest.h"
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPTIONS_MAX = 32, LONG_BASE = 256, HELP_COLUMN = 24 };

/* -- Messages ----------------------------------------------------------- */

static void print_error(const char *format, va_list args) {
    struct buf text = {0};
    struct diag d = {0};
    buf_vprintf(&text, format, args);
    diag_error(&d, (struct diag_loc){.file = NULL}, "%s", text.data);
    buf_free(&text);
}

int cmd_bad_input(const char *format, ...) {
    va_list args;
    va_start(args, format);
    print_error(format, args);
    va_end(args);
    return CMD_BAD_INPUT;
}

int cmd_failed(const char *format, ...) {
    va_list args;
    va_start(args, format);
    print_error(format, args);
    va_end(args);
    return CMD_FAILED;
}

char *cmd_suggestion(const char *word, const char *(*known)(int index), int count) {
    struct suggest s = {.word = word};
    struct buf out = {0};
    for (int i = 0; i < count; i++) suggest_offer(&s, known(i), strlen(known(i)));
    buf_puts(&out, "");
    if (s.best) buf_printf(&out, "; did you mean '%.*s'?", (int)s.best_len, s.best);
    return out.data;
}

/* -- Help ---------------------------------------------------------------- */

static void print_option(const struct cmd_option *o) {
    struct buf left = {0};
    if (o->letter) buf_printf(&left, "-%c, ", o->letter);
    buf_printf(&left, "--%s%s%s", o->name, o->value ? " " : "", o->value ? o->value : "");
    printf("  %-*s %s\n", HELP_COLUMN, left.data, o->help);
    buf_free(&left);
}

void cmd_print_help(const struct cmd_syntax *syntax) {
    static const struct cmd_option help = {"help", 'h', NULL, "this text"};
    printf("usage: sagegen %s\n\n%s\n\noptions:\n", syntax->usage, syntax->summary);
    for (const struct cmd_option *o = syntax->options; o->name; o++) print_option(o);
    print_option(&help);
    if (syntax->examples) printf("\nexamples:\n%s", syntax->examples);
}

/* -- Reading -------------------------------------------------------------- */

// getopt's tables for the command's options, and --help after them.
struct tables {
    struct option options[OPTIONS_MAX + 2];
    char letters[3 * OPTIONS_MAX + 8];
    int count;
};

static void tables_fill(struct tables *t, const struct cmd_option *options) {
    struct buf letters = {0};
    buf_puts(&letters, "-:h");
    for (t->count = 0; options[t->count].name && t->count < OPTIONS_MAX; t->count++) {
        const struct cmd_option *o = &options[t->count];
        t->options[t->count] =
            (struct option){o->name, o->value ? required_argument : no_argument, NULL, LONG_BASE + t->count};
        if (o->letter) buf_printf(&letters, "%c%s", o->letter, o->value ? ":" : "");
    }
    t->options[t->count] = (struct option){"help", no_argument, NULL, 'h'};
    t->options[t->count + 1] = (struct option){0};
    snprintf(t->letters, sizeof t->letters, "%s", letters.data);
    buf_free(&letters);
}

static int stop(struct cmd_args *args, int status) {
    args->status = status;
    return CMD_STOP;
}

// getopt leaves the word it refused at argv[optind - 1].
static int unknown_option(struct cmd_args *args) {
    const char *word = args->argv[optind - 1];
    struct suggest near = {0};
    char *name = xstrndup(word, strcspn(word, "="));
    near.word = name + strspn(name, "-");
    for (const struct cmd_option *o = args->syntax->options; o->name; o++)
        suggest_offer(&near, o->name, strlen(o->name));
    suggest_offer(&near, "help", 4);
    if (strncmp(word, "--", 2) != 0 && optopt > 0 && optopt < LONG_BASE)
        cmd_bad_input("unknown option -%c; see sagegen %s%s--help", optopt, args->syntax->name,
                      args->syntax->name[0] ? " " : "");
    else if (near.best)
        cmd_bad_input("unknown option %s; did you mean --%.*s?", name, (int)near.best_len, near.best);
    else
        cmd_bad_input("unknown option %s; see sagegen %s%s--help", name, args->syntax->name,
                      args->syntax->name[0] ? " " : "");
    free(name);
    return stop(args, CMD_BAD_INPUT);
}

static int index_of(const struct cmd_args *args, int found) {
    if (found >= LONG_BASE) return found - LONG_BASE;
    for (int i = 0; args->syntax->options[i].name; i++)
        if (args->syntax->options[i].letter == found) return i;
    return CMD_STOP;
}

// What stands behind "--": words.
static int rest(struct cmd_args *args) {
    if (optind >= args->argc) return CMD_END;
    args->value = args->argv[optind++];
    return CMD_WORD;
}

int cmd_next(struct cmd_args *args) {
    struct tables t;
    tables_fill(&t, args->syntax->options);
    if (!args->started) optind = 0; // getopt starts anew
    args->started = true;
    opterr = 0;
    int found = getopt_long(args->argc, args->argv, t.letters, t.options, NULL);
    args->value = optarg;
    switch (found) {
    case -1:
        return rest(args);
    case 1:
        return CMD_WORD;
    case 'h':
        cmd_print_help(args->syntax);
        return stop(args, CMD_DONE);
    case ':':
        cmd_bad_input("%s needs a value", args->argv[optind - 1]);
        return stop(args, CMD_BAD_INPUT);
    case '?':
        return unknown_option(args);
    default:
        return index_of(args, found);
    }
}

bool cmd_parse_count(const char *option, const char *text, int most, int *out) {
    char *end;
    long value = strtol(text, &end, 10);
    if (*text >= '0' && *text <= '9' && *end == '\0' && value >= 1 && value <= most) {
        *out = (int)value;
        return true;
    }
    cmd_bad_input("--%s must be a whole number of 1...%d, not '%s'", option, most, text);
    return false;
}

bool cmd_parse_seed(const char *text, uint64_t *out) {
    char *end;
    *out = strtoull(text, &end, 0);
    if (*text >= '0' && *text <= '9' && *end == '\0') return true;
    cmd_bad_input("--seed must be a whole number, not '%s'", text);
    return false;
}
