// SPDX-License-Identifier: Apache-2.0
/// \file
/// Mask: out[b, c] += x[b, j(c)] * sqrt(length of the stratum of c), for the sampled coordinates j(c) that the slice holds.
///
/// Floor: 32 bytes of x, a sector, and 8 of out for each output of each row. A thread finds the coordinate of its output once,
/// which costs about 300 instructions (64-bit divisions), and then takes kMaskRows rows, whose loads do not depend on each
/// other: a block of 128 threads has 1024 of them under way.
#pragma once

#include "common/mask.h"
#include "cuda/device/gpu.cuh"

namespace fimo::cuda {

constexpr int kMaskThreads = 128;
constexpr int kMaskRows = 8;

struct MaskTask {
  std::int64_t row_stride, rows;
  std::int64_t begin, end;  // coordinates
  std::int64_t input_dim, sketch_dim;
  std::uint64_t seed;
  std::int64_t first_col, last_col;  // outputs that may have a coordinate in the slice
  float* out;
  std::int64_t out_stride;
};

template <class Element>
__global__ void __launch_bounds__(kMaskThreads) mask_kernel(const MaskTask task, const Element* x, std::int64_t col_blocks) {
  const std::int64_t c = task.first_col + blockIdx.x % col_blocks * kMaskThreads + threadIdx.x;
  if (c >= task.last_col) return;
  const MaskEntry entry = mask_entry(task.input_dim, task.sketch_dim, task.seed, c);
  if (entry.coordinate < task.begin || entry.coordinate >= task.end) return;
  const float factor = static_cast<float>(sqrt(static_cast<double>(entry.length)));
  const std::int64_t row = blockIdx.x / col_blocks * kMaskRows;
  x += row * task.row_stride + (entry.coordinate - task.begin);
  float* out = task.out + row * task.out_stride + c;
  float sums[kMaskRows];
#pragma unroll
  for (int i = 0; i < kMaskRows; ++i) {
    if (row + i < task.rows) sums[i] = out[i * task.out_stride] + static_cast<float>(x[i * task.row_stride]) * factor;
  }
#pragma unroll
  for (int i = 0; i < kMaskRows; ++i) {
    if (row + i < task.rows) out[i * task.out_stride] = sums[i];
  }
}

}  // namespace fimo::cuda
