// SPDX-License-Identifier: Apache-2.0
/// \file
/// out[b, c] += parts[0][b][c] + parts[1][b][c] + ...: how kernels that cut a sum over blocks add it up, in an order that
/// depends on the sizes only.
///
/// Floor: 4 (count + 2) bytes an output, one addition a part.
///   add_parts_kernel         few parts, or outputs enough for all threads of a GPU: a thread has four neighbouring columns.
///   add_parts_sliced_kernel  few outputs of many parts, where the time is that of loads one after the other: eight warps share
///                            32 neighbouring outputs, each with an eighth of the parts, eight loads at a time, and the eight
///                            sums are added in order.
#pragma once

#include "cuda/device/gpu.cuh"

namespace fimo::cuda {

constexpr int kPartsSlices = 8;
constexpr int kPartsThreads = kWarp * kPartsSlices;
constexpr int kPartsColumns = 4;  // of a thread of add_parts_kernel

struct PartsSums {
  float sums[kPartsSlices][kWarp];
};

FIMO_DEVICE float4 parts_sum(const float4& a, const float4& b) {
  return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}

/// 2^log2_lanes threads share a row, or kPartsColumns 2^log2_lanes columns of it. kVectors: loads and stores of 16 bytes; else
/// neighbouring lanes have neighbouring columns.
template <bool kVectors>
__global__ void __launch_bounds__(kPartsThreads)
    add_parts_kernel(const float* parts, int count, std::int64_t rows, std::int64_t cols, int log2_lanes, float* out,
                     std::int64_t out_stride) {
  const int lanes = 1 << log2_lanes, width = kPartsColumns * lanes, lane = static_cast<int>(threadIdx.x) & (lanes - 1);
  const unsigned chunks = static_cast<unsigned>((cols + width - 1) / width);
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x / chunks) * (kPartsThreads >> log2_lanes) +
                           static_cast<std::int64_t>(threadIdx.x >> log2_lanes);
  const std::int64_t column = static_cast<std::int64_t>(blockIdx.x % chunks) * width + (kVectors ? kPartsColumns * lane : lane);
  if (row >= rows || column >= cols) return;
  const std::int64_t size = rows * cols;
  parts += row * cols + column;
  out += row * out_stride + column;
  if constexpr (kVectors) {
    float4 sum = *reinterpret_cast<const float4*>(parts);
#pragma unroll 4
    for (int part = 1; part < count; ++part) sum = parts_sum(sum, *reinterpret_cast<const float4*>(parts + part * size));
    float4* target = reinterpret_cast<float4*>(out);
    *target = parts_sum(*target, sum);
  } else {
    float sums[kPartsColumns] = {};
#pragma unroll 4
    for (int part = 0; part < count; ++part) {
#pragma unroll
      for (int c = 0; c < kPartsColumns; ++c) {
        if (column + c * lanes < cols) sums[c] += parts[part * size + c * lanes];
      }
    }
#pragma unroll
    for (int c = 0; c < kPartsColumns; ++c) {
      if (column + c * lanes < cols) out[c * lanes] += sums[c];
    }
  }
}

__global__ void __launch_bounds__(kPartsThreads)
    add_parts_sliced_kernel(const float* parts, std::int64_t count, std::int64_t rows, std::int64_t cols, float* out,
                            std::int64_t out_stride) {
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
