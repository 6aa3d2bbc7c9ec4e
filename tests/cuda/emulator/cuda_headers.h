// SPDX-License-Identifier: Apache-2.0
// CUDA's own types (float4, dim3, __half, __nv_bfloat16: plain C++ when g++ reads them), and its keywords as plain C++.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>
#include <vector_functions.h>
#include <vector_types.h>

#undef __global__
#undef __device__
#undef __host__
#undef __constant__
#undef __shared__
#undef __launch_bounds__
#undef __forceinline__
#undef __grid_constant__
#undef __align__
#undef __noinline__  // the standard library has it as the name of an attribute
#define __global__
#define __device__
#define __host__
#define __constant__ static
// A variable of a block cannot be had in C++ without hiding races between blocks: it does not compile.
#define __shared__ shared_memory_is_asked_for_with_shared_T
#define __launch_bounds__(...)
#define __forceinline__ inline __attribute__((always_inline))
#define __grid_constant__
#define __align__(n) alignas(n)
