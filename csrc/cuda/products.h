// SPDX-License-Identifier: Apache-2.0
/// \file
/// The matrix product of scores.cu for rows of any layout.
#pragma once

#include "cuda/routes.h"
#include "cuda/scores.cuh"

namespace fimo::cuda {

/// out[i, j] (+)= <a[i], b[j]> of rows of `depth` elements of `dtype`.
void products(Context& context, DType dtype, const TileRows& a, const TileRows& b, std::int64_t depth, const ProductOut& out);

// --- The choice of parts, which topk shares ---

constexpr std::int64_t kMultiprocessors = 132;  // of an H100: only speed depends on it

/// Parts of the depth, of `slices` slices: least time for `tiles` tiles of `outputs` products, of which `together` run at once,
/// in units of the time of a slice. Starting and ending a tile takes about 16 of them, and parts are written and read at about
/// 1 MiB each. Parts that are cut for speed take 2 piece_bytes at most; exactness cuts int8 too, which takes 4 bytes a product
/// for every kMaxInt8Depth of the depth.
inline std::int64_t depth_parts(std::int64_t slices, std::int64_t least, std::int64_t tiles, std::int64_t together,
                                std::int64_t outputs) {
  std::int64_t best = least, best_cost = 0;
  for (std::int64_t parts = least; parts == least || (parts <= slices / 8 && parts <= 1024); ++parts) {
    if (parts > least && parts * outputs * 4 > 2 * piece_bytes) break;
    const std::int64_t finish = parts == 1 ? 0 : 16 + parts * outputs * 8 / (1 << 20);
    const std::int64_t cost = ceil_div(tiles * parts, together) * (ceil_div(slices, parts) + 16) + finish;
    if (parts == least || cost < best_cost) best = parts, best_cost = cost;
  }
  return best;
}

/// How many parts the depth of a product of `rows` by `cols` has, and how long they are. Sums depend on it.
struct DepthCut {
  std::int64_t parts, part_bytes;
};
template <class Tile>
DepthCut cut_depth(std::int64_t rows, std::int64_t cols, std::int64_t depth) {
  const std::int64_t slices = ceil_div(depth * Tile::Element::kBytes, kSliceBytes);
  const std::int64_t tiles = ceil_div(rows, Tile::kRows) * ceil_div(cols, Tile::kCols);
  const std::int64_t least = Tile::Element::kType == DType::kInt8 ? larger(1, ceil_div(depth, kMaxInt8Depth)) : 1;
  const std::int64_t together = kMultiprocessors * (Tile::kRows == 16 ? 2 : 1);
  const std::int64_t parts = depth_parts(slices, least, tiles, together, rows * cols);
  const std::int64_t part_slices = larger(1, ceil_div(slices, parts));
  return {larger(1, ceil_div(slices, part_slices)), part_slices * kSliceBytes};
}

}  // namespace fimo::cuda
