// SPDX-License-Identifier: Apache-2.0
/// \file
/// What sketches of factors need beside sketches of rows (project) and sums of outer products (form.cuh).
///
/// Floor of the whole: the factors read once, their sketches written and read once (in the L2 cache for the usual sizes), and
/// T ka kd multiply-adds an example. zeros_kernel: 4 bytes an element, 16 a store. even_tokens_kernel (only for tokens that are
/// not evenly spaced over examples) reads and writes the factor once more.
#pragma once

#include "cuda/device/gpu.cuh"

namespace fimo::cuda {

constexpr int kCopyThreads = 256;

/// x[0:count] = 0; x is aligned to 16 bytes.
__global__ void __launch_bounds__(kCopyThreads) zeros_kernel(float* x, std::int64_t count) {
  const std::int64_t i = (static_cast<std::int64_t>(blockIdx.x) * kCopyThreads + threadIdx.x) * 4;
  if (i + 4 <= count) {
    *reinterpret_cast<float4*>(x + i) = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  } else {
    for (std::int64_t j = i; j < count; ++j) x[j] = 0.0f;
  }
}

/// to[b, t, :] = from[b, t, :], rows of `dim` one after the other: as float32, or (From and To an integer of its size) as it
/// is.
template <class From, class To>
__global__ void __launch_bounds__(kCopyThreads)
    even_tokens_kernel(const From* from, std::int64_t batch_stride, std::int64_t token_stride, std::int64_t tokens,
                       std::int64_t dim, std::int64_t count, To* to) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kCopyThreads + threadIdx.x;
  if (i >= count) return;
  const std::int64_t row = i / dim;
  to[i] = static_cast<To>(from[row / tokens * batch_stride + row % tokens * token_stride + i % dim]);
}

}  // namespace fimo::cuda
