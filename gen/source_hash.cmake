# source_hash: writes a header with one hash over the contents of FILES, in their order. Usage: cmake -DFILES=a;b -DOUT=h -P
# SPDX-License-Identifier: Apache-2.0
set(all "")
foreach(file IN LISTS FILES)
  file(SHA256 ${file} hash)
  string(APPEND all ${hash})
endforeach()
string(SHA256 hash "${all}")
file(WRITE ${OUT} "// Written by gen/source_hash.cmake. Do not edit.\n#define SAGEGEN_SOURCE_HASH \"${hash}\"\n")
