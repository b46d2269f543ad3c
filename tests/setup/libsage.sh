#!/bin/sh
# libsage: what an application takes on with libsage.so: its size when stripped, the libraries it needs, the names it
# exports. Also: no writable globals in the runtime's own objects, nothing that prints, exits or aborts.
# usage: libsage.sh <libsage.so> <libsage.a> <scratch folder>     SPDX-License-Identifier: Apache-2.0
set -eu
shared=$1 archive=$2 scratch=$3
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

exported=$(nm -D --defined-only "$shared" | awk '{ print $3 }')
echo "exports:" $exported
for name in $exported; do
    case $name in
    sage_*) ;;
    *) fail "libsage.so exports $name" ;;
    esac
done

called=$(nm -u "$archive" | awk '$1 == "U" { print $2 }' | sort -u | grep -xE 'printf|vprintf|puts|putchar|perror|exit|_exit|abort|__assert_fail|system|__printf_chk' || true)
[ -z "$called" ] || fail "the runtime calls" $called
writable=$(objdump -h "$archive" | awk '/file format/ { file = $1 } ($2 == ".data" || $2 == ".bss") && $3 !~ /^0+$/ { print file $2 }')
[ -z "$writable" ] || fail "the runtime has writable globals:" $writable
exit $failed
