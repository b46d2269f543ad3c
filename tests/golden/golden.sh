#!/bin/sh
# golden: expands the kernels of kernels.txt and compares them with the committed texts, or (bless) rewrites those.
# usage: golden.sh compare|bless <sagegen> <scratch folder>     SPDX-License-Identifier: Apache-2.0
set -eu
mode=$1 sagegen=$2 scratch=$3
here=$(cd "$(dirname "$0")" && pwd)
unset SAGE_TEMPLATE_DIR
rm -rf "$scratch" && mkdir -p "$scratch"

failed=0
while read -r file arguments; do
    case $file in '#'* | '') continue ;; esac
    (cd "$scratch" && "$sagegen" expand $arguments -o "$scratch/$file")
    if cmp -s "$here/$file" "$scratch/$file"; then
        echo "same: $file"
    elif [ "$mode" = bless ]; then
        cp "$scratch/$file" "$here/$file"
        echo "written: tests/golden/$file"
    else
        failed=1
        echo "DIFFERENT: tests/golden/$file (the 40 first lines; 'make bless' accepts all of it)"
        diff -u "$here/$file" "$scratch/$file" | head -40 || true
    fi
done < "$here/kernels.txt"

for file in "$here"/*.cu; do
    [ -e "$scratch/$(basename "$file")" ] && continue
    if [ "$mode" = bless ]; then rm "$file"; else failed=1; fi
    echo "not in kernels.txt: $file"
done
exit $failed
