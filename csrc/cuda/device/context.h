// SPDX-License-Identifier: Apache-2.0
/// \file
/// Where an operation runs: a device, a stream, and the workspace that the caller has given.
///
/// An operation is one function that asks its Context for memory and launches kernels. Run once with `measuring` it launches
/// nothing and adds up the memory: what an operation says it needs and what it uses cannot differ. Nothing here allocates or
/// waits, so operations can be captured into CUDA graphs.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

#include "common/common.h"
#include "cuda/device/gpu.cuh"
#include "fimo_fast/cuda.h"

namespace fimo::cuda {

inline void check(cudaError_t status, const char* call) {
  if (status == cudaSuccess) return;
  throw std::runtime_error(std::string(call) + ": " + cudaGetErrorName(status) + ", " + cudaGetErrorString(status));
}

struct LaunchShape {
  dim3 grid;
  dim3 block;
  std::size_t shared_bytes = 0;
};

class Context {
 public:
  /// Adds up the workspace only.
  static Context measuring() { return Context(nullptr); }

  /// Runs on the stream; the device is the current one while the object lives.
  explicit Context(const Queue& queue) : queue_(&queue) {
    check(cudaGetDevice(&previous_), "cudaGetDevice");
    if (queue.device != previous_) check(cudaSetDevice(queue.device), "cudaSetDevice");
  }
  ~Context() {
    if (queue_ && queue_->device != previous_) cudaSetDevice(previous_);
  }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  /// Uninitialised memory for `count` elements, aligned to 256 bytes; null while measuring. It is given back at the end, or at
  /// that of a Scope.
  template <class T>
  T* take(std::int64_t count) {
    const std::int64_t begin = used_;
    const std::int64_t bytes = count * static_cast<std::int64_t>(sizeof(T));
    used_ += round_up(bytes, 256);
#if defined(FIMO_EMULATE)
    used_ += emulator::kNobodysBytes;
#endif
    peak_ = larger(peak_, used_);
    if (!queue_) return nullptr;
    require(used_ <= queue_->workspace_bytes, "workspace: expected at least ", used_, " bytes, got ", queue_->workspace_bytes);
    char* memory = static_cast<char*>(queue_->workspace) + begin;
#if defined(FIMO_EMULATE)
    emulator::lend(memory, bytes, used_ - begin);
#endif
    return reinterpret_cast<T*>(memory);
  }

  /// Gives back what is taken from here on when it goes out of scope, for the kernels launched after that: kernels run in
  /// order.
  class Scope {
   public:
    explicit Scope(Context& context) : context_(context), mark_(context.used_) {}
    ~Scope() { context_.used_ = mark_; }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Context& context_;
    const std::int64_t mark_;
  };

  /// The most bytes that were taken at a time.
  std::int64_t used() const { return peak_; }
  bool is_measuring() const { return !queue_; }

  /// Starts a kernel after everything before it on the stream. Arguments are converted to the kernel's parameters. An empty
  /// grid starts nothing.
  template <class... Parameters, class... Arguments>
  void launch(void (*kernel)(Parameters...), const LaunchShape& shape, Arguments&&... arguments) {
    if (!queue_ || shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) return;
#if defined(FIMO_EMULATE)
    emulator::launch(kernel, shape.grid, shape.block, shape.shared_bytes, Parameters(std::forward<Arguments>(arguments))...);
#else
    if (shape.shared_bytes > 48 * 1024) {
      check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 static_cast<int>(shape.shared_bytes)),
            "cudaFuncSetAttribute");
    }
    const auto stream = static_cast<cudaStream_t>(queue_->stream);
    // clang-format off
    kernel<<<shape.grid, shape.block, shape.shared_bytes, stream>>>(Parameters(std::forward<Arguments>(arguments))...);
    // clang-format on
    check(cudaGetLastError(), "kernel launch");
#endif
  }

 private:
  explicit Context(std::nullptr_t) {}

  const Queue* queue_ = nullptr;
  std::int64_t used_ = 0;
  std::int64_t peak_ = 0;
  int previous_ = 0;
};

/// Bytes of workspace that `operation(Context&)` takes.
template <class Operation>
std::int64_t measure(const Operation& operation) {
  Context context = Context::measuring();
  operation(context);
  return context.used();
}

}  // namespace fimo::cuda
