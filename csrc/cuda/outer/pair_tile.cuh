// SPDX-License-Identifier: Apache-2.0
/// \file
/// What outer_dot and outer_norm2 do with a tile of pairs of tokens: two inner products of each, multiplied, and added along
/// the columns of each example. The Gram matrices stay in registers and shared memory.
#pragma once

#include "cuda/device/tile_product.cuh"

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

/// A warp's tiles of rows that have tokens of the same examples as its columns: [first, last).
struct WantedTiles {
  int first, last;
};

/// Of a tile whose rows and columns are the same whole examples of `tokens` tokens.
template <class Tile>
FIMO_DEVICE WantedTiles tiles_of_examples(int tokens) {
  const int col = Tile::warp_col(), begin = col / tokens * tokens - Tile::warp_row();
  const int end = (col + 8 * Tile::kColTiles - 1) / tokens * tokens + tokens - Tile::warp_row();
  return {begin <= 0 ? 0 : begin / 16, end <= 0 ? 0 : end < 16 * Tile::kRowTiles ? (end + 15) / 16 : Tile::kRowTiles};
}

/// products[i][j] for token row0 + i and token col0 + j: both inner products, multiplied. Tokens of rows end at row_end, those
/// of columns at col_end. `same`: rows and columns are the same tokens. `only_own` > 0: examples have so many, and nothing is
/// wanted of tokens of different ones.
template <class Element>
FIMO_DEVICE void pair_products(PairShared& shared, const PairFactors& factors, std::int64_t row0, std::int64_t row_end,
                               std::int64_t col0, std::int64_t col_end, bool same, int only_own = 0) {
  using Tile = PairTile<Element>;
  static_assert(Tile::kThreads == kPairThreads && Tile::kRows == kPairTokens && Tile::kCols == kPairTokens, "one tile");
  static_assert(sizeof(typename Tile::Shared) == sizeof(PairTile<Float32>::Shared), "slices are bytes");
  const WantedTiles wanted = only_own > 0 ? tiles_of_examples<Tile>(only_own) : WantedTiles{0, Tile::kRowTiles};
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
    tile.run(reinterpret_cast<typename Tile::Shared&>(shared.slices), rows, row0, cols, col0, 0, factors.bytes[factor], same,
             wanted.first, wanted.last);
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
    const int step = static_cast<int>(tokens < kPairTokens ? tokens : kPairTokens);
    const std::int64_t first = tokens - col0 % tokens;
    int end = static_cast<int>(first < kPairTokens ? first : kPairTokens);
    for (int example = 0, j = 0; j < count; ++example, end += step) {
      const int last = end < count ? end : count;
      float sum = 0.0f;
#pragma unroll 8
      for (; j < last; ++j) sum += row[j];
      row[example] = sum;  // of those that have been read
    }
  }
  __syncthreads();
}

}  // namespace fimo::cuda
