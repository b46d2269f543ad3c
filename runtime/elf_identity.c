// elf_identity: reads program headers and notes with pread; every size comes from the file and is checked before use.
// SPDX-License-Identifier: Apache-2.0
#include "elf_identity.h"
#include "key.h"
#include <elf.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PART_BYTES = 65536, BUILD_ID_MAX = 32 };

#if defined(__x86_64__)
#define ELF_IDENTITY_MACHINE EM_X86_64
#elif defined(__aarch64__)
#define ELF_IDENTITY_MACHINE EM_AARCH64
#else
#define ELF_IDENTITY_MACHINE EM_NONE
#endif

static bool read_at(int file, void *out, size_t bytes, uint64_t offset) {
    return offset <= INT64_MAX && pread(file, out, bytes, (off_t)offset) == (ssize_t)bytes;
}

static const char *header_check(int file, Elf64_Ehdr *header) {
    if (!read_at(file, header, sizeof *header, 0) || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0)
        return "not an ELF file";
    if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_ident[EI_DATA] != ELFDATA2LSB)
        return "not a 64-bit little-endian library";
    if (ELF_IDENTITY_MACHINE != EM_NONE && header->e_machine != ELF_IDENTITY_MACHINE) return "for another processor";
    return header->e_type == ET_DYN ? NULL : "not a shared library";
}

// Looks through the notes [0, bytes) for the build id; writes it as hex.
static bool notes_find(const unsigned char *notes, size_t bytes, char *out, size_t out_bytes) {
    for (size_t at = 0; at + sizeof(Elf64_Nhdr) <= bytes;) {
        Elf64_Nhdr note;
        memcpy(&note, notes + at, sizeof note);
        at += sizeof note;
        size_t name_bytes = ((size_t)note.n_namesz + 3) & ~(size_t)3,
               value_bytes = ((size_t)note.n_descsz + 3) & ~(size_t)3;
        if (name_bytes > bytes - at || value_bytes > bytes - at - name_bytes) return false;
        const unsigned char *value = notes + at + name_bytes;
        bool found = note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && !memcmp(notes + at, "GNU", 4) &&
                     note.n_descsz >= 8 && note.n_descsz <= BUILD_ID_MAX && 2 * (size_t)note.n_descsz < out_bytes;
        for (size_t i = 0; found && i < note.n_descsz; i++) snprintf(out + 2 * i, 3, "%02x", value[i]);
        if (found) return true;
        at += name_bytes + value_bytes;
    }
    return false;
}

// Walks the program headers. A segment beyond the end of the file would be a bus error in dlopen. Without a build id,
// out stays empty.
static const char *segments_read(int file, uint64_t size, const Elf64_Ehdr *header, unsigned char *part, char *out,
                                 size_t out_bytes) {
    out[0] = 0;
    for (int i = 0; i < header->e_phnum && header->e_phentsize == sizeof(Elf64_Phdr); i++) {
        Elf64_Phdr segment;
        if (!read_at(file, &segment, sizeof segment, header->e_phoff + (uint64_t)i * sizeof segment))
            return "truncated";
        if (segment.p_offset > size || segment.p_filesz > size - segment.p_offset) return "truncated";
        if (out[0] || segment.p_type != PT_NOTE || segment.p_filesz > PART_BYTES) continue;
        if (!read_at(file, part, (size_t)segment.p_filesz, segment.p_offset)) return "cannot be read";
        if (!notes_find(part, (size_t)segment.p_filesz, out, out_bytes)) out[0] = 0;
    }
    return NULL;
}

// part has room for both ends and the size.
static bool hash_of_ends(int file, uint64_t size, unsigned char *part, char *out, size_t out_bytes) {
    size_t bytes = size < PART_BYTES ? (size_t)size : PART_BYTES;
    if (!read_at(file, part, bytes, 0) || !read_at(file, part + bytes, bytes, size - bytes)) return false;
    for (int i = 0; i < 8; i++) part[2 * bytes + (size_t)i] = (unsigned char)(size >> (8 * i));
    char hash[KEY_BYTES];
    key_hash(part, 2 * bytes + 8, hash);
    snprintf(out, out_bytes, "xxh%s", hash);
    return true;
}

static const char *identity_of(int file, char *out, size_t out_bytes) {
    unsigned char part[2 * PART_BYTES + 8];
    Elf64_Ehdr header;
    struct stat info;
    const char *reason = header_check(file, &header);
    if (reason) return reason;
    if (fstat(file, &info) != 0 || !S_ISREG(info.st_mode)) return "not a regular file";
    reason = segments_read(file, (uint64_t)info.st_size, &header, part, out, out_bytes);
    if (reason || out[0]) return reason;
    return hash_of_ends(file, (uint64_t)info.st_size, part, out, out_bytes) ? NULL : "cannot be read";
}

const char *elf_identity(const char *path, char *out, size_t out_bytes) {
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0) return "cannot be opened";
    const char *reason = identity_of(file, out, out_bytes);
    close(file);
    return reason;
}
