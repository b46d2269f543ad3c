#!/bin/sh
# determinism: the emitted text depends on the spec and the templates alone: not on the run, the working folder, the place
# of spec and templates, the environment, or the clock; and it says nothing about the machine.
# usage: determinism.sh <sagegen> <source folder> <scratch folder>     SPDX-License-Identifier: Apache-2.0
set -eu
sagegen=$1 source=$2 scratch=$3
here=$(cd "$(dirname "$0")" && pwd)
unset SAGE_TEMPLATE_DIR
rm -rf "$scratch" && mkdir -p "$scratch/copy" "$scratch/elsewhere" "$scratch/a" "$scratch/b" "$scratch/c" "$scratch/d"
cp -R "$source/templates" "$source/specs" "$scratch/copy/"

failed=0
fail() { echo "FAIL: $*"; failed=1; }
same() { cmp "$scratch/a/$1" "$scratch/$2/$1" || fail "$1: $3"; }

while read -r file arguments; do
    case $file in '#'* | '') continue ;; esac
    spec=$(echo "$arguments" | sed 's/.*--spec \([a-z0-9_]*\).*/\1/')
    by_path=$(echo "$arguments" | sed "s|--spec $spec|--spec $scratch/copy/specs/$spec.yaml|")
    (cd "$source" && "$sagegen" expand $arguments) > "$scratch/a/$file"
    (cd "$source" && "$sagegen" expand $arguments) > "$scratch/b/$file"
    (cd "$scratch/elsewhere" && SAGE_TEMPLATE_DIR=$scratch/copy/templates "$sagegen" expand $by_path) > "$scratch/c/$file"
    (cd / && env -i TZ=Asia/Tokyo LC_ALL=C.UTF-8 HOME=/nowhere "$sagegen" expand $arguments) > "$scratch/d/$file"
    same "$file" b "two runs differ"
    same "$file" c "another folder, spec by path, and copied templates give other bytes"
    same "$file" d "an empty environment gives other bytes"
    for place in "$source" "$scratch" "$(dirname "$sagegen")" "${HOME:-/nowhere}/"; do
        if grep -nF -e "$place" "$scratch/a/$file"; then fail "$file names a place on this machine"; fi
    done
    if grep -nE '[12][0-9]{3}-[01][0-9]-[0-3][0-9]|[0-9]{2}:[0-9]{2}:[0-9]{2}' "$scratch/a/$file"; then fail "$file has a date"; fi
    if grep -nE '^ *# *(if|include|ifdef|else)|[[:blank:]]$|@ |\$\{' "$scratch/a/$file" | head -3 | grep .; then fail "$file is not flat, clean text"; fi
    echo "checked: $file"
done < "$here/kernels.txt"
exit $failed
