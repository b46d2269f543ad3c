#!/bin/sh
# GPU checks for CTest: the shipped specs, then the specs beside this script, which exercise every field.
# usage: verify.sh SAGEGEN [OPTION...]     exit status: that of sagegen verify; 77: no GPU
# SPDX-License-Identifier: Apache-2.0
set -u
sagegen=$1
shift
here=$(dirname "$0")
status=0
"$sagegen" verify --device cuda --quick "$@" || status=$?
[ "$status" -eq 77 ] && exit 77
for spec in "$here"/specs/*.yaml; do
    set -- "$@" --spec "$spec"
done
"$sagegen" verify --device cuda --quick "$@" || status=$?
exit "$status"
