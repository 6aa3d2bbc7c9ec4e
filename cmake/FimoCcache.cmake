# SPDX-License-Identifier: Apache-2.0
# A compiler cache, for all builds of this project. CMAKE_<LANG>_COMPILER_LAUNCHER overrules it.
set(FIMO_CCACHE AUTO CACHE STRING "ccache in front of the compilers: AUTO (if it is found) or OFF")
set_property(CACHE FIMO_CCACHE PROPERTY STRINGS AUTO OFF)
find_program(FIMO_CCACHE_PROGRAM ccache)
mark_as_advanced(FIMO_CCACHE_PROGRAM)
if(FIMO_CCACHE STREQUAL "AUTO" AND FIMO_CCACHE_PROGRAM)
  foreach(language CXX CUDA)
    if(NOT DEFINED CMAKE_${language}_COMPILER_LAUNCHER)
      set(CMAKE_${language}_COMPILER_LAUNCHER ${FIMO_CCACHE_PROGRAM})
    endif()
  endforeach()
endif()
