# SPDX-License-Identifier: Apache-2.0
# The one table of instruction sets, from the plainest to the preferred: name and compiler flags of csrc/cpu/isa/isa_<name>.cpp.
# The flags go on that file only, so that nothing else can run an instruction the machine does not have.
string(TOLOWER "${CMAKE_SYSTEM_PROCESSOR}" _fimo_processor)
set(FIMO_ISAS scalar)
set(FIMO_FLAGS_scalar "")
if(_fimo_processor MATCHES "^(x86_64|amd64)$")
  list(APPEND FIMO_ISAS avx2 avx512 avx512vnni)
  set(FIMO_FLAGS_avx2 -mavx2 -mfma -mf16c)
  set(FIMO_FLAGS_avx512 -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512dq -mavx512vl)
  set(FIMO_FLAGS_avx512vnni ${FIMO_FLAGS_avx512} -mavx512vnni)
elseif(_fimo_processor MATCHES "^(aarch64|arm64)$")
  list(APPEND FIMO_ISAS neon)
  set(FIMO_FLAGS_neon "")  # NEON is part of the architecture
endif()

# Adds the ISA files to `target` and writes their names to isa_list.h for dispatch.cpp.
function(fimo_add_isas target)
  set(entries "")
  foreach(isa IN LISTS FIMO_ISAS)
    set(file csrc/cpu/isa/isa_${isa}.cpp)
    target_sources(${target} PRIVATE ${file})
    set(flags ${FIMO_FLAGS_${isa}})
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
      # GCC warns about the deliberately undefined operands inside its own intrinsics (GCC bug 105593).
      list(APPEND flags -Wno-maybe-uninitialized -Wno-uninitialized)
    endif()
    set_source_files_properties(${file} PROPERTIES COMPILE_OPTIONS "${flags}")
    string(APPEND entries "X(${isa}) ")
  endforeach()
  file(CONFIGURE OUTPUT isa_list.h CONTENT "#define FIMO_FOR_EACH_ISA(X) @entries@\n" @ONLY)
  target_include_directories(${target} PRIVATE ${CMAKE_CURRENT_BINARY_DIR})
endfunction()
