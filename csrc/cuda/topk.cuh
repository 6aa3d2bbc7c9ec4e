// SPDX-License-Identifier: Apache-2.0
/// \file
/// topk: the scores of a round of features, of which only candidates leave the block.
///
/// Floor: that of scores (scores.cuh) without its 4 M N bytes of results: the features are read once, or 2 M N d operations at
/// the rate of mma. The features come in rounds. The first, of a few thousand, keeps all its scores as candidates; a selection
/// (topk_select.cuh) finds the k-th best, and of the later rounds only scores above it become candidates: a comparison of a
/// register with a register each, 128 of a thread's 128 sums after 416 clocks of mma a slice (64 slices at d = 4096: 0.5 % of
/// the issue slots). In random order some k ln(N / first round) candidates a query pass in all, 8 bytes and one atomic addition
/// each. In the worst order all do, which the lists have room for: rounds are at most as long as that.
///
/// The sums are those of scores to the bit: the same tiles, and the same parts of the depth where scores cuts it. Parts go to
/// the workspace, and topk_filter_kernel adds them as scores does.
#pragma once

#include "cuda/scores.cuh"
#include "cuda/topk_lists.cuh"

namespace fimo::cuda {

/// A round: rows of a times rows of b. The queries of the group are the rows of a and the features of the round those of b, or
/// the other way round if `turned`.
struct TopkProducts {
  TileRows a, b;
  bool turned;
  ProductOut scales;  // only for value()
  TopkRound round;
  std::int64_t depth_bytes, part_bytes, parts;

  FIMO_DEVICE float threshold(std::int64_t row, std::int64_t col) const { return round.threshold(turned ? col : row); }

  template <class Sum>
  FIMO_DEVICE void keep(std::int64_t row, std::int64_t col, Sum sum, float threshold) const {
    round.keep(turned ? col : row, turned ? row : col, scales.value(row, col, sum), threshold);
  }
};

/// A block has one tile and one part of the depth. With parts > 1 it leaves its sums in sums[part][row][col].
template <class Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kRows == 16 ? 2 : 1)
    topk_product_kernel(TopkProducts products, typename Tile::Sum* sums) {
  const std::int64_t rows = products.a.rows, cols = products.b.rows;
  const std::int64_t row_tiles = (rows + Tile::kRows - 1) / Tile::kRows, col_tiles = (cols + Tile::kCols - 1) / Tile::kCols;
  // Blocks that run together share columns: a group of queries has few tiles of rows.
  const std::int64_t part = blockIdx.x / (row_tiles * col_tiles), tile = blockIdx.x % (row_tiles * col_tiles);
  const std::int64_t row0 = tile % row_tiles * Tile::kRows, col0 = tile / row_tiles * Tile::kCols;
  const std::int64_t begin = part * products.part_bytes, end = begin + products.part_bytes;

  Tile product;
  product.clear();
  product.run(shared<typename Tile::Shared>(), products.a, row0, products.b, col0, begin,
              end < products.depth_bytes ? end : products.depth_bytes);

  if (products.parts > 1 || products.turned) {
    product.each([&](int i, int j, typename Tile::Sum sum) {
      const std::int64_t row = row0 + i, col = col0 + j;
      if (row >= rows || col >= cols) return;
      if (products.parts > 1) {
        sums[(part * rows + row) * cols + col] = sum;
      } else {
        products.keep(row, col, sum, products.threshold(row, col));
      }
    });
    return;
  }
  constexpr int kRowsOfThread = 2 * static_cast<int>(sizeof(product.sums) / sizeof(product.sums[0]));
  const int first = Tile::warp_row() + static_cast<int>(threadIdx.x) % kWarp / 4;
  float thresholds[kRowsOfThread];
#pragma unroll
  for (int i = 0; i < kRowsOfThread; ++i) {
    const std::int64_t row = row0 + first + 8 * i;
    thresholds[i] = row < rows ? products.threshold(row, 0) : 0.0f;
  }
  product.each([&](int i, int j, typename Tile::Sum sum) {
    const std::int64_t row = row0 + i, col = col0 + j;
    if (row < rows && col < cols) products.keep(row, col, sum, thresholds[(i - first) / 8]);
  });
}

constexpr int kFilterThreads = 256;

/// Adds the parts of each product as finish_product_kernel does. A thread owns a product.
template <class Sum>
__global__ void __launch_bounds__(kFilterThreads) topk_filter_kernel(TopkProducts products, const Sum* sums) {
  const std::int64_t cols = products.b.rows, size = products.a.rows * cols;
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kFilterThreads + threadIdx.x;
  if (i >= size) return;
  double sum = 0.0;
  for (std::int64_t part = 0; part < products.parts; ++part) sum += static_cast<double>(sums[part * size + i]);
  const std::int64_t row = i / cols, col = i % cols;
  products.keep(row, col, sum, products.threshold(row, col));
}

}  // namespace fimo::cuda
