// SPDX-License-Identifier: Apache-2.0
/// \file
/// Mask of gradients of embeddings: an output looks for the tokens whose row holds its coordinate.
///
/// Floor: of each example 8 bytes for each output that a token reaches (few: k T / V or so), and to know them, a binary search:
/// log2(T) loads from the first-level cache. The coordinate, 500 instructions with its division by dim, is found once for
/// kRowsMaskExamples examples. 64 examples and k = 8192: about 10^8 instructions, some microseconds.
#pragma once

#include "common/mask.h"
#include "cuda/rows/rows.cuh"

namespace fimo::cuda {

constexpr int kRowsMaskThreads = 128;
constexpr int kRowsMaskExamples = 8;

struct RowsMask {
  std::int64_t input_dim, sketch_dim;
  std::uint64_t seed;
  std::int64_t first, blocks;  // output, and blocks of outputs from it on
  float* out;
  std::int64_t stride;
};

template <class Element>
__global__ void __launch_bounds__(kRowsMaskThreads) rows_mask_kernel(Rows rows, RowsMask mask) {
  const std::int64_t c = mask.first + blockIdx.x % mask.blocks * kRowsMaskThreads + threadIdx.x;
  if (c >= mask.sketch_dim) return;
  const MaskEntry entry = mask_entry(mask.input_dim, mask.sketch_dim, mask.seed, c);
  if (entry.coordinate < rows.offset) return;
  const std::int64_t row = (entry.coordinate - rows.offset) / rows.dim, column = (entry.coordinate - rows.offset) % rows.dim;
  const float factor = static_cast<float>(sqrt(static_cast<double>(entry.length)));
  const std::int64_t begin = blockIdx.x / mask.blocks * kRowsMaskExamples;
  const std::int64_t end = min(begin + kRowsMaskExamples, rows.batch);
  for (std::int64_t b = begin; b < end; ++b) {
    const RowsList<Element> list(rows, b);
    std::int64_t low = 0, high = list.count;  // the first token of the row, or of a later one
    while (low < high) {
      const std::int64_t middle = (low + high) / 2;
      if (list.row[middle] < row) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    float sum = 0.0f;
    for (; low < list.count && list.row[low] == row; ++low) sum += to_float(list.delta(low)[column]);
    mask.out[b * mask.stride + c] += sum * factor;
  }
}

}  // namespace fimo::cuda
