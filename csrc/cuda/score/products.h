// SPDX-License-Identifier: Apache-2.0
/// \file
/// The matrix product of scores.cu for rows of any layout.
#pragma once

#include <algorithm>

#include "cuda/device/launch.h"
#include "cuda/score/scores.cuh"
#include "fimo_fast/score.h"

namespace fimo::cuda {

/// out[i, j] (+)= <a[i], b[j]> of rows of `depth` elements of `dtype`.
void products(Context& context, DType dtype, const TileRows& a, const TileRows& b, std::int64_t depth, const ProductOut& out);

/// out[q, n] (+)= <queries[q], features[n]>: the matrix product behind scores and formed gradients.
void inner_products(Context& context, const ConstMatrixView& queries, const ConstMatrixView& features, const RowScales& scales,
                    bool accumulate, const MatrixView& out);

// --- The choice of the tile, and of parts of the depth, which topk shares ---

/// What products are planned for. Only tests change it, so that small cases have every shape of tile.
inline std::int64_t multiprocessors = kMultiprocessors;

/// How a product of `rows` by `cols` is computed: in tiles of which shape, and in how many parts of the depth of which length.
/// Sums depend on the parts, not on the shape.
struct ProductPlan {
  bool small;
  std::int64_t parts, part_bytes;
  double clocks;  // an estimate
};

/// The fastest plan with one shape of tile. A multiprocessor's tensor cores take 1.6 clocks for a product of 16 x 8 and 32
/// bytes, and the L2 cache brings it 24 bytes a clock; a warp alone takes 10 clocks for each of its products and 200 for a
/// slice; starting and ending a tile takes 3000 and 25 a sum of a thread. Parts cost a launch (5000), and are written and read
/// at about 1 KB a clock; those that are cut for speed take 2 piece_bytes at most. Exactness cuts int8 too, which takes 4 bytes
/// a product for every kMaxInt8Depth of the depth.
template <class Tile>
ProductPlan plan_with(std::int64_t rows, std::int64_t cols, std::int64_t depth) {
  const std::int64_t slices = ceil_div(depth * Tile::Element::kBytes, kSliceBytes), outputs = rows * cols;
  const std::int64_t tiles = ceil_div(rows, Tile::kRows) * ceil_div(cols, Tile::kCols);
  const std::int64_t least = Tile::Element::kType == DType::kInt8 ? larger(1, ceil_div(depth, kMaxInt8Depth)) : 1;
  constexpr int kMma = 2 * kTerms<typename Tile::Element> * Tile::kRowTiles * Tile::kColTiles;  // of a warp and slice
  ProductPlan best{false, 0, 0, 0.0};
  for (std::int64_t parts = least; parts == least || (parts <= slices / 8 && parts <= 1024); ++parts) {
    if (parts > least && parts * outputs * 4 > 2 * piece_bytes) break;
    const auto busiest = static_cast<double>(ceil_div(tiles * parts, multiprocessors));
    const auto turns = static_cast<double>(ceil_div(tiles * parts, multiprocessors * Tile::kBlocks));
    const auto each = static_cast<double>(ceil_div(slices, parts));
    const double tensor = 1.6 * kMma * Tile::kThreads / kWarp, bytes = (Tile::kRows + Tile::kCols) * kSliceBytes;
    const double slice = std::max(busiest * std::max(tensor, bytes / 24.0), turns * (200.0 + 10.0 * kMma));
    const double finish = parts == 1 ? 0.0 : 5000.0 + static_cast<double>(parts * outputs * 8) / 1024.0;
    const double clocks = each * slice + turns * (3000.0 + 25.0 * 4 * Tile::kRowTiles * Tile::kColTiles) + finish;
    if (best.parts > 0 && clocks >= best.clocks) continue;
    const std::int64_t part_slices = larger(1, ceil_div(slices, parts));
    best = {false, larger(1, ceil_div(slices, part_slices)), part_slices * kSliceBytes, clocks};
  }
  return best;
}

/// The plan of a product of more than FlatTile's rows on both sides.
template <class Element>
ProductPlan plan_of(std::int64_t rows, std::int64_t cols, std::int64_t depth) {
  const ProductPlan wide = plan_with<WideTile<Element>>(rows, cols, depth);
  ProductPlan small = plan_with<SmallTile<Element>>(rows, cols, depth);
  small.small = true;
  return small.clocks < wide.clocks ? small : wide;
}

/// The cut of scores' product, for topk, which has FlatTile or WideTile.
template <class Tile>
ProductPlan cut_depth(std::int64_t rows, std::int64_t cols, std::int64_t depth) {
  if constexpr (Tile::kRows == 16) {
    return plan_with<Tile>(rows, cols, depth);
  } else {
    return plan_of<typename Tile::Element>(rows, cols, depth);
  }
}

}  // namespace fimo::cuda
