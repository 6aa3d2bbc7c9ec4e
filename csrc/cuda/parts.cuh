// SPDX-License-Identifier: Apache-2.0
/// \file
/// out[b, c] += parts[0][b][c] + parts[1][b][c] + ...: how kernels that cut a sum over blocks add it up, in an order that
/// depends on the sizes only.
///
/// Floor: 4 (count + 2) bytes an output, one addition a part. A thread owns an output; neighbours read neighbouring addresses.
#pragma once

#include "cuda/gpu.cuh"

namespace fimo::cuda {

constexpr int kPartsThreads = 256;

__global__ void __launch_bounds__(kPartsThreads) add_parts_kernel(const float* parts, std::int64_t count, std::int64_t rows,
                                                                  std::int64_t cols, float* out, std::int64_t out_stride) {
  const std::int64_t size = rows * cols;
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kPartsThreads + threadIdx.x;
  if (i >= size) return;
  float* target = out + i / cols * out_stride + i % cols;
  float sum = *target;
  for (std::int64_t part = 0; part < count; ++part) sum += parts[part * size + i];
  *target = sum;
}

}  // namespace fimo::cuda
