// SPDX-License-Identifier: Apache-2.0
/// \file
/// out[b, c] += parts[0][b][c] + parts[1][b][c] + ...: how kernels that cut a sum over blocks add it up, in an order that
/// depends on the sizes only.
///
/// Floor: 4 (count + 2) bytes an output, one addition a part. Few outputs may have hundreds of parts, and then the time is that
/// of loads one after the other: so eight warps share 32 neighbouring outputs, each with an eighth of the parts, eight loads
/// at a time, and the eight sums are added in order.
#pragma once

#include "cuda/gpu.cuh"

namespace fimo::cuda {

constexpr int kPartsSlices = 8;
constexpr int kPartsThreads = kWarp * kPartsSlices;

struct PartsSums {
  float sums[kPartsSlices][kWarp];
};

__global__ void __launch_bounds__(kPartsThreads) add_parts_kernel(const float* parts, std::int64_t count, std::int64_t rows,
                                                                  std::int64_t cols, float* out, std::int64_t out_stride) {
  PartsSums& all = shared<PartsSums>();
  const std::int64_t size = rows * cols;
  const int lane = static_cast<int>(threadIdx.x) % kWarp, slice = static_cast<int>(threadIdx.x) / kWarp;
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kWarp + lane;
  float sum = 0.0f;
  if (i < size) {
    const std::int64_t end = count * (slice + 1) / kPartsSlices;
#pragma unroll 8
    for (std::int64_t part = count * slice / kPartsSlices; part < end; ++part) sum += parts[part * size + i];
  }
  all.sums[slice][lane] = sum;
  __syncthreads();
  if (slice != 0 || i >= size) return;
#pragma unroll
  for (int other = 1; other < kPartsSlices; ++other) sum += all.sums[other][lane];
  out[i / cols * out_stride + i % cols] += sum;
}

}  // namespace fimo::cuda
