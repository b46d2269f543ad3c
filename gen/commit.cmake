# commit: writes a header with the source folder's git commit, "" where there is none; leaves it alone if nothing changed.
# usage: cmake -DSOURCE_DIR=... -DOUT=commit.h -P commit.cmake          SPDX-License-Identifier: Apache-2.0
cmake_minimum_required(VERSION 3.25)
set(commit "")
if(EXISTS ${SOURCE_DIR}/.git)
  execute_process(COMMAND git -C ${SOURCE_DIR} rev-parse --short HEAD OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE
    RESULT_VARIABLE failed ERROR_QUIET)
  execute_process(COMMAND git -C ${SOURCE_DIR} diff --quiet HEAD -- gen runtime specs templates RESULT_VARIABLE changed ERROR_QUIET OUTPUT_QUIET)
  if(failed)
    set(commit "")
  elseif(changed)
    string(APPEND commit " with changes")
  endif()
endif()
file(CONFIGURE OUTPUT ${OUT} CONTENT "#define SAGEGEN_COMMIT \"@commit@\"\n" @ONLY)
