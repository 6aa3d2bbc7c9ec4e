# SPDX-License-Identifier: Apache-2.0
# The GPUs that CUDA files are compiled for; included before CUDA is enabled. CMAKE_CUDA_ARCHITECTURES overrules it.
set(FIMO_CUDA_ARCHITECTURES "" CACHE STRING
  "GPUs: 'release' for all, a list as CMAKE_CUDA_ARCHITECTURES takes it, or empty: this machine's, without any sm_80")

# The architectures of this machine's GPUs that the kernels run on ("90"; empty where there are none), from the driver's tool:
# nvcc's -arch=native guesses where there is no GPU.
function(fimo_native_cuda_architectures result)
  execute_process(COMMAND nvidia-smi --query-gpu=compute_cap --format=csv,noheader
    OUTPUT_VARIABLE answer RESULT_VARIABLE status ERROR_QUIET)
  set(found "")
  if(status EQUAL 0)
    string(REGEX MATCHALL "[0-9]+\\.[0-9]" capabilities "${answer}")
    foreach(capability IN LISTS capabilities)
      string(REPLACE "." "" architecture ${capability})
      if(architecture GREATER_EQUAL 80)
        list(APPEND found ${architecture})
      endif()
    endforeach()
    list(REMOVE_DUPLICATES found)
  endif()
  set(${result} "${found}" PARENT_SCOPE)
endfunction()

if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  if(FIMO_CUDA_ARCHITECTURES STREQUAL "release")
    # Machine code for Ampere (and Ada), Hopper and Blackwell, and Blackwell's PTX, which every later GPU can translate.
    set(CMAKE_CUDA_ARCHITECTURES "80-real;90a-real;100")
  elseif(FIMO_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES "${FIMO_CUDA_ARCHITECTURES}")
  else()
    # One architecture takes a third of the time. Its PTX is in the module too: a newer GPU translates it at first use.
    fimo_native_cuda_architectures(CMAKE_CUDA_ARCHITECTURES)
    if(NOT CMAKE_CUDA_ARCHITECTURES)
      set(CMAKE_CUDA_ARCHITECTURES 80)
    endif()
  endif()
endif()
