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

  /// A product of int8 (int, or its sum of parts in double) in the units of the scales, rounded once: two floats' product is
  /// exact in a double.
  FIMO_DEVICE static float scaled(double sum, float row_scale, float col_scale) {
    return static_cast<float>(sum * (static_cast<double>(row_scale) * static_cast<double>(col_scale)));
  }

  /// The value of a product; `sum` is an int, a float or a double.
  template <class Sum>
  FIMO_DEVICE float value(std::int64_t row, std::int64_t col, Sum sum) const {
    return row_scales ? scaled(static_cast<double>(sum), row_scales[row], col_scales[col]) : static_cast<float>(sum);
  }

  FIMO_DEVICE void put(std::int64_t row, std::int64_t col, float value) const {
    float* target = data + row * row_stride + col * col_stride;
    *target = accumulate ? *target + value : value;
  }
};

/// How many tiles of rows follow each other before the next tile of columns.
constexpr std::int64_t kRowTilesTogether = 8;

/// The products of a tile of int8. Scales are loaded first, 24 a thread: between stores each would be loaded for every product.
template <class Tile>
FIMO_DEVICE void put_scaled(const Tile& product, std::int64_t rows, std::int64_t row0, std::int64_t cols, std::int64_t col0,
                            const ProductOut& out) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  row0 += Tile::warp_row() + lane / 4;
  col0 += Tile::warp_col() + lane % 4 * 2;
  float of_rows[Tile::kRowTiles][2], of_cols[Tile::kColTiles][2];
#pragma unroll
  for (int i = 0; i < Tile::kRowTiles * 2; ++i) {
    const std::int64_t row = row0 + 8 * i;
    of_rows[i / 2][i % 2] = row < rows ? out.row_scales[row] : 0.0f;
  }
#pragma unroll
  for (int j = 0; j < Tile::kColTiles * 2; ++j) {
    const std::int64_t col = col0 + j / 2 * 8 + j % 2;
    of_cols[j / 2][j % 2] = col < cols ? out.col_scales[col] : 0.0f;
  }
#pragma unroll
  for (int i = 0; i < Tile::kRowTiles; ++i) {
#pragma unroll
    for (int j = 0; j < Tile::kColTiles; ++j) {
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const std::int64_t row = row0 + 16 * i + k / 2 * 8, col = col0 + 8 * j + k % 2;
        const double sum = static_cast<double>(product.sums[i][j][k]);
        if (row < rows && col < cols) out.put(row, col, ProductOut::scaled(sum, of_rows[i][k / 2], of_cols[j][k % 2]));
      }
    }
  }
}

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
  const auto each_inside = [&](const auto& visit) {
    product.each([&](int i, int j, typename Tile::Sum sum) {
      if (row0 + i < a.rows && col0 + j < b.rows) visit(row0 + i, col0 + j, sum);
    });
  };
  if (parts > 1) {
    each_inside(
        [&](std::int64_t row, std::int64_t col, typename Tile::Sum sum) { sums[(part * a.rows + row) * b.rows + col] = sum; });
  } else if constexpr (Tile::Element::kType == DType::kInt8) {
    put_scaled<Tile>(product, a.rows, row0, b.rows, col0, out);
  } else {
    each_inside([&](std::int64_t row, std::int64_t col, float sum) { out.put(row, col, sum); });
  }
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
  out.put(i / cols, i % cols, out.value(i / cols, i % cols, sum));
}

}  // namespace fimo::cuda
