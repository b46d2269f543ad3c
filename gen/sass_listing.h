// sass_listing: the text of nvdisasm -c (or cuobjdump -sass) -> instructions with their branch targets. Reads any text:
// what is no instruction, label or kernel head is passed over; a branch that leads nowhere is an error.
// SPDX-License-Identifier: Apache-2.0
#ifndef SAGE_GEN_SASS_LISTING_H
#define SAGE_GEN_SASS_LISTING_H

#include <stdbool.h>
#include <stddef.h>

enum sass_next {
    SASS_FALLS,   /* to the next instruction */
    SASS_JUMPS,   /* to its targets only */
    SASS_CHOOSES, /* its targets or the next one */
    SASS_LEAVES,  /* the kernel, or back to a caller */
};

struct sass_instr {
    unsigned address;  /* bytes from the section's start */
    const char *guard; /* "@!P0"; "" */
    const char *text;  /* opcode and operands: "FFMA R1, R2, R3, R4" */
    enum sass_next next;
    int *target; /* instructions of the same kernel */
    int target_count;
    bool is_call; /* its target is entered, and comes back */
};

struct sass_kernel {
    const char *name;
    struct sass_instr *item;
    int count, capacity;
};

struct sass_listing {
    struct sass_kernel *kernel;
    int count;
    char *text; /* a copy of the input, which all texts above lie in */
};

#define SASS_WHY_BYTES 256

// false: why has the reason, *out is in the zero state. A section without instructions is no kernel.
bool sass_listing_read(struct sass_listing *out, const char *text, size_t len, char why[SASS_WHY_BYTES]);
void sass_listing_free(struct sass_listing *listing);

// Whether the opcode is `name`, or begins with it and a dot: "IMAD.MOV" is part of "IMAD.MOV.U32", "IMA" of nothing.
bool sass_is(const struct sass_instr *instr, const char *name);

#endif
