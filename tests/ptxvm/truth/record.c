// record: a GPU's outputs on disk: a dump holds them whole, to compare again without the GPU; a record holds a hash of
// each, and words of those that need not be equal bit for bit. A record's text is one line per case.
// SPDX-License-Identifier: Apache-2.0
#include "truth.h"

#include <stdlib.h>
#include <string.h>

enum { SAMPLE_WORDS = 16, LINE_BYTES = 4096 };

/* -- Store --------------------------------------------------------------------------------------------------------- */

static struct truth_entry *store_add(struct truth_store *store) {
    if (store->count == store->capacity) {
        size_t capacity = store->capacity * 2 + 256;
        struct truth_entry *entries = realloc(store->entries, capacity * sizeof *entries);
        if (entries == NULL) return NULL;
        store->entries = entries;
        store->capacity = capacity;
    }
    struct truth_entry *entry = &store->entries[store->count++];
    memset(entry, 0, sizeof *entry);
    return entry;
}

const struct truth_entry *truth_store_find(const struct truth_store *store, const char *name) {
    for (size_t k = store->count; k-- > 0;) /* the last one counts */
        if (strcmp(store->entries[k].name, name) == 0) return &store->entries[k];
    return NULL;
}

void truth_store_free(struct truth_store *store) {
    for (size_t k = 0; k < store->count; k++) {
        free(store->entries[k].name);
        free(store->entries[k].data);
    }
    free(store->entries);
}

/* -- Dumps: name length, bytes, key, name, bytes ------------------------------------------------------------------- */

bool truth_dump_write(FILE *file, const struct truth_case *c, const uint8_t *output) {
    uint64_t head[3] = {strlen(c->name), c->output_bytes, c->key};
    return fwrite(head, sizeof head, 1, file) == 1 && fwrite(c->name, 1, head[0], file) == head[0] &&
           fwrite(output, 1, head[1], file) == head[1] && fflush(file) == 0;
}

static bool dump_entry(struct truth_store *store, FILE *file, const uint64_t head[3]) {
    struct truth_entry *entry = store_add(store);
    if (entry == NULL) return false;
    entry->key = head[2];
    entry->bytes = head[1];
    entry->name = calloc(1, head[0] + 1);
    entry->data = malloc(head[1] + 1);
    if (entry->name == NULL || entry->data == NULL) return false;
    return fread(entry->name, 1, head[0], file) == head[0] && fread(entry->data, 1, head[1], file) == head[1];
}

bool truth_dump_read(struct truth_store *store, const char *path) {
    FILE *file = fopen(path, "rb");
    uint64_t head[3];
    bool good = file != NULL;
    while (good && fread(head, sizeof head, 1, file) == 1)
        good = head[0] < 4096 && head[1] < UINT64_C(1) << 32 && dump_entry(store, file, head);
    if (file != NULL) fclose(file);
    return good;
}

/* -- Records ------------------------------------------------------------------------------------------------------- */

static size_t sample_step(size_t bytes) { /* in words of 8 bytes */
    size_t words = bytes / 8;
    return words <= SAMPLE_WORDS ? 1 : words / SAMPLE_WORDS;
}

bool truth_record_add(struct truth_store *store, const struct truth_case *c, const uint8_t *gpu) {
    struct truth_entry *entry = store_add(store);
    uint8_t *copy = malloc(c->output_bytes + 1);
    if (entry == NULL || copy == NULL) return false;
    memcpy(copy, gpu, c->output_bytes);
    truth_canonical(c, copy);
    entry->name = strdup(c->name);
    entry->key = c->key;
    entry->hash = truth_hash(TRUTH_HASH, copy, c->output_bytes);
    if (c->mode > MODE_NAN) {
        size_t step = sample_step(c->output_bytes);
        for (size_t w = 0; w < SAMPLE_WORDS && (w * step + 1) * 8 <= c->output_bytes; w++) {
            memmove(copy + 8 * w, copy + 8 * w * step, 8);
            entry->bytes = 8 * (w + 1);
        }
        entry->data = copy;
        return entry->name != NULL;
    }
    free(copy);
    return entry->name != NULL;
}

void truth_record_overlay(const struct truth_entry *entry, uint8_t *output, size_t bytes) {
    size_t step = sample_step(bytes);
    for (size_t w = 0; 8 * w < entry->bytes; w++) memcpy(output + 8 * w * step, entry->data + 8 * w, 8);
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct truth_entry *)a)->name, ((const struct truth_entry *)b)->name);
}

bool truth_record_write(const struct truth_store *store, const char *path) {
    FILE *file = fopen(path, "w");
    if (file == NULL) return false;
    qsort(store->entries, store->count, sizeof *store->entries, by_name);
    fprintf(file, "{\"device\": \"%s\", \"cases\": {\n", store->device);
    for (size_t k = 0; k < store->count; k++) {
        const struct truth_entry *entry = &store->entries[k];
        fprintf(file, "\"%s\": [\"%016llx\", \"%016llx\", \"", entry->name, (unsigned long long)entry->key,
                (unsigned long long)entry->hash);
        for (size_t b = 0; b < entry->bytes; b++) fprintf(file, "%02x", entry->data[b]);
        fprintf(file, "\"]%s\n", k + 1 < store->count ? "," : "");
    }
    fprintf(file, "}}\n");
    return fclose(file) == 0;
}

static bool record_line(struct truth_store *store, const char *line) {
    const char *end = strstr(line + 1, "\": [\"");
    unsigned long long key, hash;
    int skipped = 0;
    if (line[0] != '"' || end == NULL) return true; /* the frame */
    if (sscanf(end + 4, "\"%16llx\", \"%16llx\", \"%n", &key, &hash, &skipped) != 2 || skipped == 0) return false;
    const char *hex = end + 4 + skipped;
    size_t digits = strspn(hex, "0123456789abcdef");
    struct truth_entry *entry = store_add(store);
    if (entry == NULL) return false;
    *entry = (struct truth_entry){strndup(line + 1, (size_t)(end - line - 1)), key, hash, digits / 2,
                                  calloc(1, digits / 2 + 1)};
    if (entry->name == NULL || entry->data == NULL) return false;
    for (size_t b = 0; b < entry->bytes; b++) {
        unsigned byte = 0;
        sscanf(hex + 2 * b, "%2x", &byte);
        entry->data[b] = (uint8_t)byte;
    }
    return true;
}

bool truth_record_read(struct truth_store *store, const char *path) {
    FILE *file = fopen(path, "r");
    char line[LINE_BYTES];
    bool good = file != NULL;
    while (good && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "{\"device\": \"", 12) == 0)
            snprintf(store->device, sizeof store->device, "%.*s", (int)strcspn(line + 12, "\""), line + 12);
        good = record_line(store, line);
    }
    if (file != NULL) fclose(file);
    return good;
}
