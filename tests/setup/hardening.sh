#!/bin/sh
# hardening: reads from ELF files what compiler and linker were asked for: a program at a random address, no lazy binding,
# relocations read-only after start, no stack or segment that is both written and executed, guarded stacks, bounded copies.
# Stack guard and bounded copies are seen by the functions that they call; the latter need an optimised build.
# usage: hardening.sh <program> <library>...     Skips itself (77) without readelf. SPDX-License-Identifier: Apache-2.0
set -eu
command -v readelf > /dev/null || { echo "skipped: no readelf (binutils)"; exit 77; }
failed=0
fail() { echo "FAIL: $*"; failed=1; }

check() {
    file=$1
    header=$(readelf -hW "$file") segments=$(readelf -lW "$file") dynamic=$(readelf -dW "$file") symbols=$(readelf -W --dyn-syms "$file")
    has() { printf '%s\n' "$1" | grep -Eq "$2"; }
    has "$header" 'Type: +DYN' || fail "$file: fixed address (not PIE)"
    has "$segments" 'GNU_RELRO' || fail "$file: no relro"
    has "$dynamic" 'BIND_NOW|Flags:.*NOW' || fail "$file: lazy binding (no -z now)"
    has "$segments" 'GNU_STACK.* RW +0x' || fail "$file: executable stack"
    has "$segments" 'LOAD.* RWE ' && fail "$file: a segment is written and executed"
    has "$dynamic" 'TEXTREL' && fail "$file: relocations in code"
    has "$symbols" '__stack_chk_fail' || fail "$file: no stack protector"
    has "$symbols" '__[a-z]+_chk(@| |$)' || fail "$file: no _FORTIFY_SOURCE (a build without optimisation has none)"
    echo "$file: checked"
}
for file in "$@"; do check "$file"; done
exit $failed
