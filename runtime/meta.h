// meta: kernel.meta <-> struct meta, both from the table in meta_fields.h. The text: "meta_version:
// <SAGE_META_VERSION>", one "name: value" line per field in the order of the table, and "meta_hash: " with the XXH3-64
// of all bytes before it. The reader accepts exactly what the writer makes. SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_META_H
#define SAGE_META_H

#include "meta_fields.h"
#include "provider.h"
#include "sage.h"

#define META_TEXT_MAX  127 /* bytes of a text field, without the NUL; printable ASCII, no blank at either end */
#define META_WHY_BYTES 256
#define META_FILE_MAX  16384 /* bytes of a whole kernel.meta */

#define META_TEXT_MEMBER(name, help) char name[META_TEXT_MAX + 1];
#define META_INT_MEMBER(name, help)  int name; /* never negative */
struct meta {
    SAGE_META_TEXTS(META_TEXT_MEMBER)
    SAGE_META_INTS(META_INT_MEMBER)
};

// Reads text (len bytes; need not be NUL-terminated). *out is untouched on failure. Errors: CORRUPT with line and
// reason; another meta_version too. Never trusts a byte.
sage_status meta_read(sage_context *context, const char *text, size_t len, struct meta *out);
// Whether text is whole, and the metadata of another version, rather than damaged ones of this: by what all versions
// share, the first line and the hash in the last.
bool meta_is_of_other_version(const char *text, size_t len);
// Writes meta as text from the context's allocator. Errors: INVALID_ARGUMENT with the field that meta_read would
// refuse; OUT_OF_MEMORY.
sage_status meta_write(sage_context *context, const struct meta *meta, char **text, size_t *len);
// Fills sizes and hashes of the three files.
void meta_set_files(struct meta *meta, const char *source, size_t source_bytes, const char *ptx, size_t ptx_bytes,
                    const void *cubin, size_t cubin_bytes);
// One to META_TEXT_MAX printable ASCII characters, no blank at either end.
bool meta_text_is_plain(const char *text);
// Checks values, not text: NULL, or what is wrong, written to why.
const char *meta_check(const struct meta *meta, char why[META_WHY_BYTES]);
// Whether cubin is the one that meta describes. Errors: CORRUPT.
sage_status meta_check_cubin(sage_context *context, const struct meta *meta, const void *cubin, size_t cubin_bytes);

// The same of the source text.
sage_status meta_check_source(sage_context *context, const struct meta *meta, const void *source, size_t source_bytes);

struct meta_target {
    int sm;      /* 90 */
    char suffix; /* 'a': this GPU alone; 'f': the family; 0 */
};

// "sm_90a" -> {90, 'a'}; false for anything else than sm_, two or three digits, at most one of a and f.
bool meta_target_parse(const char *text, struct meta_target *out);
// Whether code for target ("sm_80", "sm_90a", "sm_120f") runs on a GPU of this sm; higher is the better match, 0: does
// not run. A cubin runs on its own major version from its minor version on; with suffix a on exactly its own GPU.
int meta_target_rank(const char *target, int sm);
// SAGE_ROLE_COUNT: no such role.
enum sage_role meta_role(const struct meta *meta);
// Whether the set that `attention`, the metadata of an attn_fwd kernel, leads has a kernel of this role.
bool meta_role_needed(const struct meta *attention, enum sage_role role);
// The words of the fields io and mask: "bf16", "causal".
const char *meta_io_text(sage_dtype io);
const char *meta_mask_text(sage_mask mask);

#endif
