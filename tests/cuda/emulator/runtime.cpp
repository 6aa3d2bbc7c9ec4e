// SPDX-License-Identifier: Apache-2.0
// The part of the CUDA runtime that drivers call: one device, and everything is done when a call returns.
#include <cstring>

#include "emulator/cuda_headers.h"

extern "C" {

cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int) { return cudaSuccess; }

cudaError_t cudaMemsetAsync(void* to, int value, size_t count, cudaStream_t) {
  std::memset(to, value, count);
  return cudaSuccess;
}

const char* cudaGetErrorName(cudaError_t) { return "cudaErrorUnknown"; }

const char* cudaGetErrorString(cudaError_t) { return "unknown error"; }

}  // extern "C"
