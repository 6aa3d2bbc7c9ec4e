// SPDX-License-Identifier: Apache-2.0
/// \file
/// topk: the scores of a round of features, of which only candidates leave the block.
///
/// Floor: that of scores (scores.cuh) without its 4 M N bytes of results: the features read once, or 2 M N d operations at the
/// rate of mma. The features come in rounds. The first, of a few thousand, keeps all its scores as candidates; a selection
/// (topk_select.cuh, topk_select_warp.cuh) finds the k-th best, and of later rounds only scores above it become candidates. In
/// random order those are about k ln(N / first round) a query in all, each 8 bytes and one atomic addition. In the worst order
/// they are all, for which the lists have room: it bounds the length of rounds (topk.cu).
///
/// Beside the product a tile of a later round costs a comparison and a vote a score: 1500 clocks of a warp for 128 x 256 of 16
/// bits, 3500 for 256 x 160 of int8, which are scaled first, beside 15000 and 7000 for a depth of 512. What is found, 2 sums a
/// warp of 10^6 features with k = 20, waits in places of the warp in shared memory, so that atomic additions are under way
/// together and no warp waits for another. The first round writes keys from registers: a loop over places would take 7000
/// clocks more.
///
/// The sums are those of scores to the bit: the same tiles, and the same parts of the depth where scores cuts it. Parts go to
/// the workspace, and topk_filter_kernel adds them as scores does.
#pragma once

#include "cuda/score/scores.cuh"
#include "cuda/score/topk_lists.cuh"

namespace fimo::cuda {

/// A round: rows of a times rows of b. The queries of the group are the rows of a and the features of the round those of b, or
/// the other way round if `turned`: then all features fit one tile and the first round.
struct TopkProducts {
  TileRows a, b;
  bool turned;
  ProductOut scales;  // only for value() and its scales
  TopkRound round;
  std::int64_t depth_bytes, part_bytes, parts;

  /// In the first round.
  FIMO_DEVICE void put(std::int64_t row, std::int64_t col, float score) const {
    round.put(turned ? col : row, turned ? row : col, score);
  }
};

/// Which tile and part block `block` has. Blocks that run together share columns: a group of queries has few tiles of rows.
template <class Tile>
struct TopkPlace {
  std::int64_t row0, col0, part;

  FIMO_DEVICE TopkPlace(unsigned block, std::int64_t rows, std::int64_t parts) {
    const auto row_tiles = static_cast<unsigned>((rows + Tile::kRows - 1) / Tile::kRows);
    const unsigned tiles = gridDim.x / static_cast<unsigned>(parts), tile = block % tiles;
    part = block / tiles;
    row0 = static_cast<std::int64_t>(tile % row_tiles) * Tile::kRows;
    col0 = static_cast<std::int64_t>(tile / row_tiles) * Tile::kCols;
  }
};

template <class Tile>
struct TopkShared {
  static constexpr bool kScaled = Tile::Element::kType == DType::kInt8;
  static constexpr int kWarps = Tile::kThreads / kWarp;
  static constexpr int kFound = kWarp * Tile::kColTiles * 4;  // all sums of a warp's row of tiles
  static constexpr int kPlaces = sizeof(Tile::Shared::slices) / 8 / kWarps;
  static_assert(kPlaces >= kFound, "a row of tiles fits");

  union {
    typename Tile::Shared slices;
    struct {  // a warp's sums on their way to the lists, and where in the tile they are (in pairs they would need more
              // registers)
      typename Tile::Sum sums[kWarps][kPlaces];
      int places[kWarps][kPlaces];
    } found;
  };
  float2 rows[Tile::kRows];  // thresholds, infinite for rows that do not exist, and scales
  float col_scales[kScaled ? Tile::kCols : 1];

  /// What the end of a block needs, read at its start: nobody waits for it there.
  FIMO_DEVICE void load(const TopkProducts& products, std::int64_t row0, std::int64_t col0) {
    const int thread = static_cast<int>(threadIdx.x);
    for (int i = thread; i < Tile::kRows; i += Tile::kThreads) {
      const bool inside = row0 + i < products.a.rows, keeps_all = products.round.keeps_all();
      const float threshold = inside && !keeps_all ? products.round.lists.thresholds[row0 + i] : __uint_as_float(0x7F800000u);
      rows[i] = make_float2(threshold, kScaled && inside ? products.scales.row_scales[row0 + i] : 0.0f);
    }
    if (!kScaled) return;
    for (int i = thread; i < Tile::kCols; i += Tile::kThreads) {
      col_scales[i] = col0 + i < products.b.rows ? products.scales.col_scales[col0 + i] : 0.0f;
    }
  }

  /// The score, as ProductOut::value makes it.
  FIMO_DEVICE float score(int row, int col, typename Tile::Sum sum) const {
    if constexpr (kScaled) {
      return ProductOut::scaled(exact_double(sum), static_cast<double>(rows[row].y), static_cast<double>(col_scales[col]));
    } else {
      return sum;
    }
  }
};

/// A block has one tile and one part of the depth. With parts > 1 it leaves its sums in sums[part][row][col]. Otherwise its
/// candidates go through shared memory: threads share the few there are, and code beyond the comparison is there once, not for
/// every register.
template <class Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    topk_product_kernel(TopkProducts products, typename Tile::Sum* sums) {
  using Sum = typename Tile::Sum;
  using Shared = TopkShared<Tile>;
  auto& s = shared<Shared>();
  const std::int64_t rows = products.a.rows, cols = products.b.rows;
  Tile product;
  product.clear();
  {
    const TopkPlace<Tile> place(blockIdx.x, rows, products.parts);
    if (products.parts == 1) s.load(products, place.row0, place.col0);
    const std::int64_t begin = place.part * products.part_bytes, end = begin + products.part_bytes;
    product.run(s.slices, products.a, place.row0, products.b, place.col0, begin,
                end < products.depth_bytes ? end : products.depth_bytes);
  }
  // Found again: registers were full of sums.
  const TopkPlace<Tile> place(static_cast<unsigned>(opaque(blockIdx.x)), rows, products.parts);
  const std::int64_t row0 = place.row0, col0 = place.col0;

  if (products.parts > 1) {
    product.each([&](int i, int j, Sum sum) {
      if (row0 + i < rows && col0 + j < cols) sums[(place.part * rows + row0 + i) * cols + col0 + j] = sum;
    });
    return;
  }
  if (products.round.keeps_all()) {
    product.each([&](int i, int j, Sum sum) {
      if (row0 + i < rows && col0 + j < cols) products.put(row0 + i, col0 + j, s.score(i, j, sum));
    });
    return;
  }
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  const int first = Tile::warp_row() + lane / 4, first_col = Tile::warp_col() + lane % 4 * 2;
  Sum* sums_found = s.found.sums[warp];
  int *places_found = s.found.places[warp], filled = 0;
  __syncthreads();  // nobody reads slices any more
#pragma unroll
  for (int i = 0; i < Tile::kRowTiles; ++i) {
    float thresholds[2], scales[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float2 row = s.rows[first + 16 * i + 8 * half];
      thresholds[half] = Shared::kScaled ? row.x - 1e-30f : row.x;
      scales[half] = row.y;
    }
#pragma unroll
    for (int j = 0; j < Tile::kColTiles; ++j) {
      unsigned found[4];  // by which lanes
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const Sum sum = product.sums[i][j][k];
        bool below;
        if (Shared::kScaled) {
          // Not exact, but what is clearly below the threshold needs no conversions to double.
          const float about = static_cast<float>(sum) * (scales[k / 2] * s.col_scales[first_col + 8 * j + k % 2]);
          below = fmaf(fabsf(about), 1e-6f, about) < thresholds[k / 2];
        } else {
          below = static_cast<float>(sum) <= thresholds[k / 2];
        }
        found[k] = __ballot_sync(kAllLanes, !below);
      }
      if ((found[0] | found[1] | found[2] | found[3]) == 0) continue;
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        if (found[k] >> lane & 1) {
          const int at = filled + __popc(found[k] & ((1u << lane) - 1));
          sums_found[at] = product.sums[i][j][k];
          places_found[at] = (first + 16 * i + k / 2 * 8) * Tile::kCols + first_col + 8 * j + k % 2;
        }
        filled += __popc(found[k]);
      }
    }
    if (i + 1 < Tile::kRowTiles && filled <= Shared::kPlaces - Shared::kFound) continue;  // the next row fits too
    __syncwarp();
#pragma unroll 1
    for (int at = lane; at < filled; at += kWarp) {
      const int row = places_found[at] / Tile::kCols, col = places_found[at] % Tile::kCols;
      if (row0 + row < rows && col0 + col < cols) {
        products.round.keep(row0 + row, col0 + col, s.score(row, col, sums_found[at]), s.rows[row].x);
      }
    }
    filled = 0;
    __syncwarp();
  }
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
  const float score = products.scales.value(row, col, sum);
  if (products.round.keeps_all()) return products.put(row, col, score);
  products.round.keep(row, col, score, products.round.lists.thresholds[row]);
}

}  // namespace fimo::cuda
