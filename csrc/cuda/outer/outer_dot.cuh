// SPDX-License-Identifier: Apache-2.0
/// \file
/// out[b, c] = sum_{t,s} <a[b,t], a'[c,s]> <delta[b,t], delta'[c,s]> from Gram matrices of tokens.
///
/// Floor: 2 B T B' T' (n + m) operations at the rate of mma, or every input once. A block has 128 x 128 pairs of tokens, of
/// which it computes both inner products (64 sums of each a thread), multiplies them and adds what belongs to one pair of
/// examples: the Gram matrices are never written. A slice takes 416 clocks of mma and 512 of shared memory (16-bit types;
/// float32: 1239 of mma), the end of a tile about 1500 clocks once; 1 block an SM.
///
/// Tiles have whole examples where at least three quarters of a tile are then used; examples of more tokens are cut by them and
/// their sums are added by another launch, in order. Where there are few tiles, the Gram matrices are products with the depth
/// in parts (scores.cu), and gram_dot_kernel adds them up: 8 bytes a pair of tokens.
#pragma once

#include "cuda/outer/pair_tile.cuh"

namespace fimo::cuda {

/// A side of outer_dot: `batch` examples of `tokens` tokens, `step` tokens a tile, at most `parts` tiles an example.
struct PairSide {
  std::int64_t batch, tokens, step, parts;

  FIMO_DEVICE std::int64_t tiles() const { return (batch * tokens + step - 1) / step; }
  FIMO_DEVICE std::int64_t first_tile(std::int64_t example) const { return example * tokens / step; }
  FIMO_DEVICE std::int64_t last_tile(std::int64_t example) const { return ((example + 1) * tokens - 1) / step; }
};

/// sums[p][b][c] of the examples' p-th pair of tiles, p = the row's tile of the example * cols.parts + the column's. Rows of
/// sums are `stride` apart.
template <class Element>
__global__ void __launch_bounds__(kPairThreads, 1)
    pair_dot_kernel(PairFactors factors, PairSide rows, PairSide cols, float* sums, std::int64_t stride) {
  PairShared& block = shared<PairShared>();
  const std::int64_t tile = blockIdx.x % rows.tiles(), tile2 = blockIdx.x / rows.tiles();
  const std::int64_t row0 = tile * rows.step, col0 = tile2 * cols.step;
  const std::int64_t all = rows.batch * rows.tokens, all2 = cols.batch * cols.tokens;
  const std::int64_t row_end = row0 + rows.step < all ? row0 + rows.step : all;
  const std::int64_t col_end = col0 + cols.step < all2 ? col0 + cols.step : all2;
  pair_products<Element>(block, factors, row0, row_end, col0, col_end, false);
  pair_row_sums(block, row0, row_end, col0, col_end, cols.tokens);

  const std::int64_t b0 = row0 / rows.tokens, c0 = col0 / cols.tokens;
  const int count = static_cast<int>((row_end - 1) / rows.tokens - b0) + 1;
  const int count2 = static_cast<int>((col_end - 1) / cols.tokens - c0) + 1;
  for (int pair = static_cast<int>(threadIdx.x); pair < count * count2; pair += kPairThreads) {
    const std::int64_t b = b0 + pair / count2, c = c0 + pair % count2;
    const std::int64_t begin = b * rows.tokens - row0, end = begin + rows.tokens, most = row_end - row0;
    float sum = 0.0f;
    for (int i = begin > 0 ? static_cast<int>(begin) : 0; i < (end < most ? end : most); ++i) {
      sum += block.products[i][pair % count2];
    }
    const std::int64_t part = (tile - rows.first_tile(b)) * cols.parts + tile2 - cols.first_tile(c);
    sums[(part * rows.batch + b) * stride + c] = sum;
  }
}

/// out[b, c] = the sum of a pair's parts, in order. A thread owns a pair.
__global__ void __launch_bounds__(kPairThreads)
    pair_finish_kernel(const float* sums, PairSide rows, PairSide cols, float* out, std::int64_t stride) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kPairThreads + threadIdx.x;
  if (i >= rows.batch * cols.batch) return;
  const std::int64_t b = i / cols.batch, c = i % cols.batch;
  double sum = 0.0;
  for (std::int64_t p = 0; p <= rows.last_tile(b) - rows.first_tile(b); ++p) {
    for (std::int64_t q = 0; q <= cols.last_tile(c) - cols.first_tile(c); ++q) {
      sum += static_cast<double>(sums[((p * cols.parts + q) * rows.batch + b) * cols.batch + c]);
    }
  }
  out[b * stride + c] = static_cast<float>(sum);
}

/// out[b, c] = sum_{t,s} gram[b t, c s] gram2[b t, c s]. `lanes` (a power of two up to 32) lanes share a pair.
__global__ void __launch_bounds__(kPairThreads) gram_dot_kernel(const float* gram, const float* gram2, PairSide rows,
                                                                PairSide cols, int lanes, float* out, std::int64_t stride) {
  const std::int64_t thread = static_cast<std::int64_t>(blockIdx.x) * kPairThreads + threadIdx.x, pair = thread / lanes;
  double sum = 0.0;
  if (pair < rows.batch * cols.batch) {
    const std::int64_t b = pair / cols.batch, c = pair % cols.batch, width = cols.batch * cols.tokens;
    for (std::int64_t i = thread % lanes; i < rows.tokens * cols.tokens; i += lanes) {
      const std::int64_t at = (b * rows.tokens + i / cols.tokens) * width + c * cols.tokens + i % cols.tokens;
      sum += static_cast<double>(gram[at]) * static_cast<double>(gram2[at]);
    }
  }
  for (int apart = lanes / 2; apart > 0; apart /= 2) sum += __shfl_xor_sync(kAllLanes, sum, apart);
  if (pair < rows.batch * cols.batch && thread % lanes == 0) {
    out[pair / cols.batch * stride + pair % cols.batch] = static_cast<float>(sum);
  }
}

}  // namespace fimo::cuda
