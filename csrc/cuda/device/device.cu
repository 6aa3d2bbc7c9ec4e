// SPDX-License-Identifier: Apache-2.0
#include <cuda_runtime.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "common/cuda_devices.h"
#include "fimo_fast/random.h"

namespace fimo::cuda {

// Evaluated by the device compiler: the numbers that sketches will use on the GPU are those of the CPU.
// External linkage, so that the compiler does not drop it as unused.
__global__ void philox_known_answers() {
  static_assert(philox_known_answers_hold(), "Philox4x32-10 in device code disagrees with the published known answers");
  static_assert(equals(philox(0x85a308d3243f6a88ull, 0x13198a2eu, 0x03707344u, 0x299f31d0a4093822ull), 0xd16cfe09u, 0x94fdccebu,
                       0x5001e420u, 0x24126ea1u),
                "the 64-bit form orders counter or key words differently");
}

namespace {

void check(cudaError_t status, const char* call) {
  if (status == cudaSuccess) return;
  throw std::runtime_error(std::string(call) + ": " + cudaGetErrorName(status) + ", " + cudaGetErrorString(status));
}

}  // namespace

std::string runtime_version() {
  int version = 0;
  check(cudaRuntimeGetVersion(&version), "cudaRuntimeGetVersion");
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

std::vector<CudaDevice> devices() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaErrorNoDevice || status == cudaErrorInsufficientDriver) {
    cudaGetLastError();  // the runtime remembers it as the last error; a machine without a driver is none
    return {};
  }
  check(status, "cudaGetDeviceCount");
  std::vector<CudaDevice> found;
  for (int device = 0; device < count; ++device) {
    cudaDeviceProp properties;
    check(cudaGetDeviceProperties(&properties, device), "cudaGetDeviceProperties");
    found.push_back({properties.name, properties.major, properties.minor});
  }
  return found;
}

}  // namespace fimo::cuda
