// suggest: finds the known word nearest to a mistyped one.
// Distance = inserted, deleted, replaced and swapped characters, case apart; a beginning of a known word counts as
// near. SPDX-License-Identifier: Apache-2.0
#include "suggest.h"

#include <string.h>

enum { WORD_MAX = 48, PREFIX_MIN = 3 };

static int lower(char c) {
    return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c;
}

static int min(int a, int b) {
    return a < b ? a : b;
}

// Optimal string alignment; rows[i % 3][j] = edits between the first i bytes of a and j of b. Both at most WORD_MAX
// bytes.
static int edits(const char *a, int a_len, const char *b, int b_len) {
    int rows[3][WORD_MAX + 1];
    for (int j = 0; j <= b_len; j++) rows[0][j] = j;
    for (int i = 1; i <= a_len; i++) {
        int *row = rows[i % 3], *above = rows[(i + 2) % 3], *two_above = rows[(i + 1) % 3];
        row[0] = i;
        for (int j = 1; j <= b_len; j++) {
            int same = lower(a[i - 1]) == lower(b[j - 1]) ? 0 : 1;
            row[j] = min(above[j - 1] + same, min(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) && lower(a[i - 2]) == lower(b[j - 1]))
                row[j] = min(row[j], two_above[j - 2] + 1);
        }
    }
    return rows[a_len % 3][b_len];
}

void suggest_offer(struct suggest *s, const char *known, size_t len) {
    size_t word_len = strlen(s->word);
    if (word_len == 0 || word_len > WORD_MAX || len > WORD_MAX) return;
    int distance = edits(s->word, (int)word_len, known, (int)len);
    int near = (int)(word_len < len ? word_len : len) / 3;
    if (word_len >= PREFIX_MIN && word_len < len && strncmp(s->word, known, word_len) == 0) distance = 1;
    if (distance > (near ? near : 1)) return;
    if (s->best && distance >= s->distance) return;
    s->best = known;
    s->best_len = len;
    s->distance = distance;
}
