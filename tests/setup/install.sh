#!/bin/sh
# install: installs the build to a folder of its own, moves that folder, and builds and runs an application with it:
# by find_package (shared, static, generator) and by pkg-config (sage, sagegen). The installed sagegen must work alone.
# usage: install.sh <build folder> <folder of this script> <scratch folder>     SPDX-License-Identifier: Apache-2.0
set -eu
build=$1 here=$2 scratch=$3
say() { echo "== $*"; }

rm -rf "$scratch" && mkdir -p "$scratch"
say "install, then move"
cmake --install "$build" --prefix "$scratch/first" > "$scratch/install.log"
mv "$scratch/first" "$scratch/prefix"
prefix=$scratch/prefix
libdir=$(dirname "$(find "$prefix" -name libsage.a)")
find "$prefix" ! -type d | sed "s|^$prefix/||" | sort

say "no file names the machine that built it"
if grep -rlF -e "$scratch/first" -e "$build" "$prefix" --include='*.cmake' --include='*.pc' --include='*.h'; then exit 1; fi

say "find_package"
cmake -S "$here/consumer" -B "$scratch/consumer" -G Ninja -DCMAKE_PREFIX_PATH="$prefix" > "$scratch/configure.log" || { cat "$scratch/configure.log"; exit 1; }
cmake --build "$scratch/consumer" > "$scratch/build.log" || { cat "$scratch/build.log"; exit 1; }
for kind in shared static generator; do
    printf '%s: ' "$kind"
    "$scratch/consumer/${kind}_consumer"
done

say "pkg-config"
export PKG_CONFIG_PATH="$libdir/pkgconfig"
cc -o "$scratch/by_pc" "$here/consumer/main.c" $(pkg-config --cflags --libs sage)
LD_LIBRARY_PATH=$libdir "$scratch/by_pc"
cc -DWITH_GENERATOR -o "$scratch/by_pc_generator" "$here/consumer/main.c" $(pkg-config --cflags --libs sagegen)
"$scratch/by_pc_generator"

say "the header alone, as C11 and with every warning"
echo '#include <sage.h>' | cc -std=c11 -pedantic -Wall -Wextra -Werror -fsyntax-only -I"$prefix/include" -x c -
if command -v c++ > /dev/null; then echo '#include <sage.h>' | c++ -std=c++11 -Wall -Wextra -Werror -fsyntax-only -I"$prefix/include" -x c++ -; fi

say "the installed sagegen, from another folder and without its source tree"
cd / && "$prefix/bin/sagegen" check fp4_d128
