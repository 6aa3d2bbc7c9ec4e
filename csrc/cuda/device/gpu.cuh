// SPDX-License-Identifier: Apache-2.0
/// \file
/// The one header through which kernels see a GPU. nvcc compiles it to CUDA; g++ with FIMO_EMULATE to the emulator of
/// tests/cuda, which runs the same sources on a CPU. So kernels have no launch syntax: `Context::launch` (context.h) is the
/// only place that starts one.
///
/// Rules for device code: shared memory is one struct a kernel, asked for with `shared<T>()`; inline PTX stays in
/// instructions.cuh, each with a host twin; barriers are `__syncthreads` and `__syncwarp`; collectives have masks.
#pragma once

#if defined(FIMO_EMULATE)
#include "emulator/emulator.h"
#define FIMO_DEVICE inline
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#define FIMO_DEVICE __device__ __forceinline__
#endif

#include <cstdint>

namespace fimo::cuda {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xFFFFFFFFu;

/// The dynamic shared memory of the block, as the kernel's struct.
template <class T>
FIMO_DEVICE T& shared() {
#if defined(FIMO_EMULATE)
  if (sizeof(T) > emulator::current->shared_bytes) emulator::fail("the kernel's shared struct is larger than the launch's");
  return *reinterpret_cast<T*>(emulator::current->shared);
#else
  extern __shared__ __align__(128) unsigned char fimo_shared[];
  return *reinterpret_cast<T*>(fimo_shared);
#endif
}

}  // namespace fimo::cuda
