// SPDX-License-Identifier: Apache-2.0
/// \file
/// out[i, j] (+)= <a[i], b[j]>: tiles of tile_product.cuh, in one launch, or with the depth cut into parts and a launch that
/// adds them.
///
/// Floor: 2 M N d operations at the rate of mma, or every byte of a and b once, whichever takes longer, and 4 M N bytes
/// written. Many rows: WideTile, whose blocks run through eight tiles of rows for every tile of columns, so that what they read
/// together stays in the L2 cache (8 x 128 rows and 17 x 256 columns of 8 KB are 43 MB at the worst, and they need not all be
/// there at once). At most 16 rows on one side: FlatTile, which reads the other side once and is bound by that: 20 % of its mma
/// time (float32 60 %) and 75 of 564 issue slots a slice.
#pragma once

#include "cuda/tile_product.cuh"

namespace fimo::cuda {

/// What happens to a product.
struct ProductOut {
  float* data;
  std::int64_t row_stride, col_stride;  // by row of a, row of b
  const float* row_scales;              // null: none
  const float* col_scales;
  bool accumulate;

  /// The value of a product; `sum` is an int, a float or a double.
  template <class Sum>
  FIMO_DEVICE float value(std::int64_t row, std::int64_t col, Sum sum) const {
    if (!row_scales) return static_cast<float>(sum);
    // Two floats' product is exact in a double.
    const double scale = static_cast<double>(row_scales[row]) * static_cast<double>(col_scales[col]);
    return static_cast<float>(static_cast<double>(sum) * scale);
  }

  template <class Sum>
  FIMO_DEVICE void put(std::int64_t row, std::int64_t col, Sum sum) const {
    float* target = data + row * row_stride + col * col_stride;
    *target = accumulate ? *target + value(row, col, sum) : value(row, col, sum);
  }
};

/// How many tiles of rows follow each other before the next tile of columns.
constexpr std::int64_t kRowTilesTogether = 8;

/// A block has one tile and one part of the depth (part_bytes of depth_bytes). With parts == 1 it finishes the products; else
/// it leaves them in sums[part][row][col].
template <class Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kRows == 16 ? 2 : 1)
    product_kernel(TileRows a, TileRows b, std::int64_t depth_bytes, std::int64_t part_bytes, std::int64_t parts,
                   typename Tile::Sum* sums, ProductOut out) {
  const std::int64_t row_tiles = (a.rows + Tile::kRows - 1) / Tile::kRows;
  const std::int64_t col_tiles = (b.rows + Tile::kCols - 1) / Tile::kCols;
  const std::int64_t part = blockIdx.x / (row_tiles * col_tiles), tile = blockIdx.x % (row_tiles * col_tiles);
  const std::int64_t group = tile / (kRowTilesTogether * col_tiles), in_group = tile % (kRowTilesTogether * col_tiles);
  const std::int64_t rest = row_tiles - group * kRowTilesTogether, height = rest < kRowTilesTogether ? rest : kRowTilesTogether;
  const std::int64_t row0 = (group * kRowTilesTogether + in_group % height) * Tile::kRows;
  const std::int64_t col0 = in_group / height * Tile::kCols;
  const std::int64_t begin = part * part_bytes, end = begin + part_bytes < depth_bytes ? begin + part_bytes : depth_bytes;

  Tile product;
  product.clear();
  product.run(shared<typename Tile::Shared>(), a, row0, b, col0, begin, end);
  product.each([&](int i, int j, typename Tile::Sum sum) {
    const std::int64_t row = row0 + i, col = col0 + j;
    if (row >= a.rows || col >= b.rows) return;
    if (parts == 1) {
      out.put(row, col, sum);
    } else {
      sums[(part * a.rows + row) * b.rows + col] = sum;
    }
  });
}

constexpr int kFinishThreads = 256;

/// Adds the parts of each product of `rows` x `cols`, in order, exactly for integers. A thread owns a product; neighbours read
/// neighbours. Floor: 4 (parts + 1) bytes each.
template <class Sum>
__global__ void __launch_bounds__(kFinishThreads)
    finish_product_kernel(const Sum* sums, std::int64_t parts, std::int64_t rows, std::int64_t cols, ProductOut out) {
  const std::int64_t size = rows * cols;
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kFinishThreads + threadIdx.x;
  if (i >= size) return;
  double sum = 0.0;
  for (std::int64_t part = 0; part < parts; ++part) sum += static_cast<double>(sums[part * size + i]);
  out.put(i / cols, i % cols, sum);
}

}  // namespace fimo::cuda
