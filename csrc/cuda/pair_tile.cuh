// SPDX-License-Identifier: Apache-2.0
/// \file
/// What outer_dot and outer_norm2 do with a tile of pairs of tokens: two inner products of each, multiplied, and added along
/// the columns of each example. The Gram matrices stay in registers and shared memory.
#pragma once

#include "cuda/tile_product.cuh"

namespace fimo::cuda {

template <class Element>
using PairTile = TileProduct<Element, 2, 4, 4, 4, 4, 1>;

constexpr int kPairTokens = 128, kPairThreads = 256;

/// The two factors of both sides: tokens as rows.
struct PairFactors {
  TileRows rows[2], cols[2];
  std::int64_t bytes[2];  // of a row
};

union PairShared {
  PairTile<Float32>::Shared slices;
  float products[kPairTokens][kPairTokens + 1];  // one more: threads walk along rows
};

/// products[i][j] for token row0 + i and token col0 + j: both inner products, multiplied. Tokens of rows end at row_end, those
/// of columns at col_end. `same`: rows and columns are the same tokens.
template <class Element>
FIMO_DEVICE void pair_products(PairShared& shared, const PairFactors& factors, std::int64_t row0, std::int64_t row_end,
                               std::int64_t col0, std::int64_t col_end, bool same) {
  using Tile = PairTile<Element>;
  static_assert(Tile::kThreads == kPairThreads && Tile::kRows == kPairTokens && Tile::kCols == kPairTokens, "one tile");
  static_assert(sizeof(typename Tile::Shared) == sizeof(PairTile<Float32>::Shared), "slices are bytes");
  Tile tile;
  float first[4][4][4];
#pragma unroll 1
  for (int factor = 0; factor < 2; ++factor) {
    TileRows rows = factors.rows[factor], cols = factors.cols[factor];
    rows.rows = row_end;
    cols.rows = col_end;
    if (factor == 1) {
      __syncthreads();  // the first factor's slices have been read
#pragma unroll
      for (int i = 0; i < 64; ++i) first[i / 16][i / 4 % 4][i % 4] = tile.sums[i / 16][i / 4 % 4][i % 4];
    }
    tile.clear();
    tile.run(reinterpret_cast<typename Tile::Shared&>(shared.slices), rows, row0, cols, col0, 0, factors.bytes[factor], same);
  }
#pragma unroll
  for (int i = 0; i < 64; ++i) tile.sums[i / 16][i / 4 % 4][i % 4] *= first[i / 16][i / 4 % 4][i % 4];
  __syncthreads();  // all slices have been read: the products take their place
  tile.each([&](int i, int j, float sum) { shared.products[i][j] = sum; });
  __syncthreads();
}

/// products[i][s] becomes the sum over the columns that are tokens of the s-th example with tokens in [col0, col_end), of
/// `tokens` each.
FIMO_DEVICE void pair_row_sums(PairShared& shared, std::int64_t row0, std::int64_t row_end, std::int64_t col0,
                               std::int64_t col_end, std::int64_t tokens) {
  const int count = static_cast<int>(col_end - col0 < kPairTokens ? col_end - col0 : kPairTokens);
  if (threadIdx.x < kPairTokens && row0 + threadIdx.x < row_end) {
    float* row = shared.products[threadIdx.x];
    std::int64_t left = tokens - col0 % tokens;
    int example = 0;
    float sum = 0.0f;
    for (int j = 0; j < count; ++j) {
      sum += row[j];
      if (--left == 0 || j == count - 1) {
        row[example++] = sum;
        sum = 0.0f;
        left = tokens;
      }
    }
  }
  __syncthreads();
}

}  // namespace fimo::cuda
