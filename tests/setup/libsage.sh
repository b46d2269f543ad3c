#!/bin/sh
# libsage: what an application takes on with libsage.so: its size when stripped, the libraries it needs, the names it
# exports, all of sage.h and with the versions of sage.map. Also: no writable globals in the runtime's own objects,
# nothing that prints, exits or aborts.
# usage: libsage.sh <libsage.so> <libsage.a> <scratch folder> <folder of sage.h and sage.map>     SPDX-License-Identifier: Apache-2.0
set -eu
shared=$1 archive=$2 scratch=$3 headers=$4
failed=0
fail() { echo "FAIL: $*"; failed=1; }

mkdir -p "$scratch"
strip -o "$scratch/libsage.so" "$shared"
bytes=$(wc -c < "$scratch/libsage.so")
echo "stripped: $bytes bytes"
[ "$bytes" -lt 300000 ] || fail "libsage.so has $bytes bytes stripped; at most 300000"

needed=$(readelf -d "$shared" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
echo "needs:" $needed
for library in $needed; do
    case $library in
    libc.so.* | libdl.so.* | libpthread.so.* | libm.so.* | ld-linux*) ;;
    *) fail "libsage.so needs $library" ;;
    esac
done

soname=$(readelf -d "$shared" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p')
case $soname in
libsage.so.[0-9]*) echo "soname: $soname" ;;
*) fail "soname is '$soname'" ;;
esac

exported=$(nm -D --defined-only "$shared" | awk '$2 != "A" { print $3 }' | sort)
echo "exports:" $exported
for name in $exported; do
    case $name in
    sage_*@@SAGE_[0-9]*) ;;
    *) fail "libsage.so exports $name" ;;
    esac
done
mapped=$(awk '/^SAGE_/ { version = $1 } /^ *sage_/ { sub(";", "", $1); print $1 "@@" version }' "$headers/sage.map" | sort)
[ "$exported" = "$mapped" ] || fail "libsage.so exports other names, or versions, than sage.map lists"
# sage_use_generator is in libsagegen
declared=$(sed -n '/^SAGE_API/s/.*[ *]\(sage_[a-z_]*\)(.*/\1/p' "$headers/sage.h" | grep -v sage_use_generator | sort)
[ "$(echo "$exported" | sed 's/@@.*//')" = "$declared" ] || fail "sage.h declares other functions than libsage.so exports"

called=$(nm -u "$archive" | awk '$1 == "U" { print $2 }' | sort -u | grep -xE 'printf|vprintf|puts|putchar|perror|exit|_exit|abort|__assert_fail|system|__printf_chk' || true)
[ -z "$called" ] || fail "the runtime calls" $called
writable=$(objdump -h "$archive" | awk '/file format/ { file = $1 } ($2 == ".data" || $2 == ".bss") && $3 !~ /^0+$/ { print file $2 }')
[ -z "$writable" ] || fail "the runtime has writable globals:" $writable
exit $failed
