# SPDX-License-Identifier: Apache-2.0
# Translated PTX as objects of C++.
find_program(FIMO_NVCC nvcc HINTS ${CUDAToolkit_BIN_DIR} REQUIRED)
find_package(Python 3.10 REQUIRED COMPONENTS Interpreter)
set(FIMO_PTX_ARCHITECTURE 80 CACHE STRING "What nvcc compiles for: the lowest of the architectures, or 90a, 100")
set(fimo_ptx_folder ${CMAKE_CURRENT_LIST_DIR})

function(fimo_for_emulator target)
  target_compile_definitions(${target} PRIVATE FIMO_EMULATE)
  target_include_directories(${target} PRIVATE ${fimo_ptx_folder}/..)
  target_include_directories(${target} SYSTEM PRIVATE ${CUDAToolkit_INCLUDE_DIRS})
endfunction()

# An object library of kernels in PTX (.ptx), or in CUDA, which nvcc compiles first.
function(fimo_translate target)
  file(GLOB translator CONFIGURE_DEPENDS ${fimo_ptx_folder}/*.py)
  set(folder ${CMAKE_CURRENT_BINARY_DIR}/${target})
  file(MAKE_DIRECTORY ${folder})
  set(sources "")
  foreach(source IN LISTS ARGN)
    get_filename_component(source ${source} ABSOLUTE)
    get_filename_component(name ${source} NAME_WE)
    set(ptx ${source})
    if(source MATCHES "\\.cu$")
      set(ptx ${folder}/${name}.ptx)
      add_custom_command(OUTPUT ${ptx} DEPENDS ${source} DEPFILE ${ptx}.d
        COMMAND ${FIMO_NVCC} -std=c++17 -arch=compute_${FIMO_PTX_ARCHITECTURE} -I${FIMO_ROOT}/csrc -I${FIMO_ROOT}/csrc/include
          -I${fimo_ptx_folder}/.. -ptx ${source} -o ${ptx} -MD -MF ${ptx}.d)
    endif()
    add_custom_command(OUTPUT ${folder}/${name}.cpp DEPENDS ${ptx} ${translator} WORKING_DIRECTORY ${fimo_ptx_folder}/..
      COMMAND ${Python_EXECUTABLE} -m ptx ${ptx} ${folder}/${name}.cpp)
    list(APPEND sources ${folder}/${name}.cpp)
  endforeach()
  add_library(${target} OBJECT EXCLUDE_FROM_ALL ${sources})
  fimo_for_emulator(${target})
  # -fwrapv: registers wrap. Contraction is ptxas's choice, and not made here.
  target_compile_options(${target} PRIVATE -O1 -fwrapv -fno-strict-aliasing -ffp-contract=off -w)
endfunction()

# What launches them.
add_library(ptx_runtime OBJECT ${fimo_ptx_folder}/launch.cpp ${fimo_ptx_folder}/ranges.cpp)
fimo_for_emulator(ptx_runtime)
target_compile_options(ptx_runtime PRIVATE -O1 -g1 -Wall -Wextra)
