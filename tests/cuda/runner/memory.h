// SPDX-License-Identifier: Apache-2.0
// Memory of the device, as large as asked to the byte: sanitizers see the first access behind it.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "cuda/device/context.h"
#if defined(FIMO_EMULATE_PTX)
#include "ptx/ranges.h"
#endif

namespace fimo::cuda {

class DeviceMemory {
 public:
  explicit DeviceMemory(std::size_t bytes) : bytes_(bytes) {
#if defined(FIMO_EMULATE)
    data_ = std::malloc(bytes ? bytes : 1);
#if defined(FIMO_EMULATE_PTX)
    range_ = std::make_unique<ptx::Range>(data_, bytes);
#endif
#else
    check(cudaMalloc(&data_, bytes ? bytes : 1), "cudaMalloc");
#endif
  }
  ~DeviceMemory() {
#if defined(FIMO_EMULATE)
    std::free(data_);
#else
    cudaFree(data_);
#endif
  }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  void* get() const { return data_; }
  std::size_t bytes() const { return bytes_; }

  void put(const void* from) {
    if (!bytes_) return;
#if defined(FIMO_EMULATE)
    if (bytes_ > 0) std::memcpy(data_, from, bytes_);
#else
    check(cudaMemcpy(data_, from, bytes_, cudaMemcpyHostToDevice), "cudaMemcpy");
#endif
  }
  /// Waits for everything that runs.
  void copy_to(void* to) const {
    if (!bytes_) return;
#if defined(FIMO_EMULATE)
    if (bytes_ > 0) std::memcpy(to, data_, bytes_);
#else
    check(cudaMemcpy(to, data_, bytes_, cudaMemcpyDeviceToHost), "cudaMemcpy");
#endif
  }
  /// NaN in every floating-point type, -1 in every integer.
  void poison() {
#if defined(FIMO_EMULATE)
    std::memset(data_, 0xFF, bytes_);
#else
    check(cudaMemset(data_, 0xFF, bytes_), "cudaMemset");
#endif
  }

 private:
  std::size_t bytes_;
  void* data_ = nullptr;
#if defined(FIMO_EMULATE_PTX)
  std::unique_ptr<ptx::Range> range_;
#endif
};

}  // namespace fimo::cuda
