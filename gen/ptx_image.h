// ptx_image: what the PTX virtual machine loads in the place of a cubin: PTX, and behind it, as comments, the line map
// of the text that it was made of. In: both. Out: one text that ends in 0; and template lines of its instructions.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_PTX_IMAGE_H
#define SAGE_GEN_PTX_IMAGE_H

#include "linemap.h"

void ptx_image_write(const char *ptx, const struct linemap *map, struct buf *out);
// The line map of an image; false: there is none, and *map is in the zero state.
bool ptx_image_map(const char *image, struct linemap *map);

// Where an instruction comes from. Files are template names, borrowed from the map; NULL: not known.
struct ptx_place {
    const char *file, *caller_file; /* caller: where a wrapper's call was inlined */
    int line, caller_line;
};

// name: what the emitted text was called when it was compiled, with -lineinfo.
struct ptx_place ptx_image_place(const char *image, const struct linemap *map, const char *name, int ptx_line);
// "templates/stage/x.cu.tl:12" of the place a reader of stages looks for: the call of a wrapper, not its inside. ""
// where it is not known.
void ptx_place_text(const struct ptx_place *place, struct buf *out);

#endif
