// SPDX-License-Identifier: Apache-2.0
/// \file
/// out[i, j] (+)= <a[i], b[j]>: tiles of tile_product.cuh, in one launch, or with the depth cut into parts and a launch that
/// adds them.
///
/// Floor: 2 M N d operations at the rate of mma, or every byte of a and b once, whichever takes longer, and 4 M N bytes
/// written. Many rows: WideTile, or SmallTile where there are few tiles (products.h); blocks run through eight tiles of rows
/// for every tile of columns, so that what they read together stays in the L2 cache. At most 16 rows on one side: FlatTile,
/// which reads the other side once and is bound by that.
#pragma once

#include "cuda/device/tile_product.cuh"

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
    return scaled(static_cast<double>(sum), static_cast<double>(row_scales[row]), static_cast<double>(col_scales[col]));
  }

  /// Two floats' product is exact in a double.
  FIMO_DEVICE static float scaled(double sum, double row_scale, double col_scale) {
    return static_cast<float>(sum * (row_scale * col_scale));
  }

  FIMO_DEVICE void put(std::int64_t row, std::int64_t col, float value) const {
    float* target = data + row * row_stride + col * col_stride;
    *target = accumulate ? *target + value : value;
  }
};

/// How many tiles of rows follow each other before the next tile of columns.
constexpr unsigned kRowTilesTogether = 8;

/// x as a double, by an addition: conversions are slow.
FIMO_DEVICE double exact_double(int x) {
  return __hiloint2double(0x43300000, static_cast<int>(static_cast<unsigned>(x) ^ 0x80000000u)) - 4503601774854144.0;
}

/// Writes the products of a tile that exist, row by row of a warp: of(row) gives value(j, k, sum) for sum k of the row in its
/// j-th tile. Only float32 is ever added to what is there.
template <class Tile, class Of>
FIMO_DEVICE void put_rows(const Tile& product, const ProductOut& out, std::int64_t row0, std::int64_t rows, std::int64_t col0,
                          std::int64_t cols, const Of& of) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const std::int64_t row = row0 + Tile::warp_row() + lane / 4, col = col0 + Tile::warp_col() + lane % 4 * 2;
  const int right =
      static_cast<int>(cols - col < 8 * Tile::kColTiles ? cols - col : 8 * Tile::kColTiles);  // columns from col on
  const bool adds = Tile::Element::kType == DType::kFloat32 && out.accumulate;
#pragma unroll
  for (int i = 0; i < 2 * Tile::kRowTiles; ++i) {
    if (row + 8 * i >= rows) continue;
    const std::int64_t step = opaque(out.col_stride);  // products of it would take registers from row to row
    float* to = out.data + (row + 8 * i) * out.row_stride + col * step;
    const auto value = of(row + 8 * i);
    float before[Tile::kColTiles][2];
    if (adds) {  // all are read before one is written: their loads are under way together
      const float* at = to;
#pragma unroll
      for (int j = 0; j < Tile::kColTiles; ++j, at += 8 * step) {
#pragma unroll
        for (int k = 0; k < 2; ++k) before[j][k] = 8 * j + k < right ? at[k * step] : 0.0f;
      }
    }
#pragma unroll
    for (int j = 0; j < Tile::kColTiles; ++j, to += 8 * step) {
#pragma unroll
      for (int k = 0; k < 2; ++k) {
        float x = computed(value(j, k, product.sums[i / 2][j][i % 2 * 2 + k]));  // else every sum has a branch of its own
        if (adds) x += before[j][k];
        if (8 * j + k < right) to[k * step] = x;
      }
    }
  }
}

/// The products of a tile, finished; or, `raw`, the sums themselves, whose bits `out` takes.
template <class Tile>
FIMO_DEVICE void put_tile(const Tile& product, const ProductOut& out, bool raw, std::int64_t row0, std::int64_t rows,
                          std::int64_t col0, std::int64_t cols) {
  if constexpr (Tile::Element::kType != DType::kInt8) {
    put_rows(product, out, row0, rows, col0, cols, [](std::int64_t) { return [](int, int, float sum) { return sum; }; });
  } else if (raw) {
    put_rows(product, out, row0, rows, col0, cols,
             [](std::int64_t) { return [](int, int, int sum) { return __int_as_float(sum); }; });
  } else {
    double col_scales[Tile::kColTiles][2];
    const std::int64_t col = col0 + Tile::warp_col() + static_cast<int>(threadIdx.x) % 4 * 2;
#pragma unroll
    for (int j = 0; j < Tile::kColTiles; ++j) {
#pragma unroll
      for (int k = 0; k < 2; ++k) {
        col_scales[j][k] = static_cast<double>(out.col_scales[col + 8 * j + k < cols ? col + 8 * j + k : cols - 1]);
      }
    }
    put_rows(product, out, row0, rows, col0, cols, [&](std::int64_t row) {
      const double row_scale = static_cast<double>(out.row_scales[row]);
      return
          [&, row_scale](int j, int k, int sum) { return ProductOut::scaled(exact_double(sum), row_scale, col_scales[j][k]); };
    });
  }
}

/// Which tile and part block `block` has. Blocks that follow each other share columns.
template <class Tile>
struct ProductPlace {
  std::int64_t row0, col0, part;

  FIMO_DEVICE ProductPlace(unsigned block, std::int64_t rows, std::int64_t cols) {
    const auto row_tiles = static_cast<unsigned>((rows + Tile::kRows - 1) / Tile::kRows);
    const auto col_tiles = static_cast<unsigned>((cols + Tile::kCols - 1) / Tile::kCols);
    const unsigned tile = block % (row_tiles * col_tiles);
    const unsigned group = tile / (kRowTilesTogether * col_tiles), in_group = tile % (kRowTilesTogether * col_tiles);
    const unsigned height = min(row_tiles - group * kRowTilesTogether, kRowTilesTogether);
    part = block / (row_tiles * col_tiles);
    row0 = static_cast<std::int64_t>(group * kRowTilesTogether + in_group % height) * Tile::kRows;
    col0 = static_cast<std::int64_t>(in_group / height) * Tile::kCols;
  }
};

/// A block has one tile and one part of the depth (part_bytes of depth_bytes). With parts == 1 it finishes the products; else
/// it leaves them in sums[part][row][col].
template <class Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    product_kernel(TileRows a, TileRows b, std::int64_t depth_bytes, std::int64_t part_bytes, std::int64_t parts,
                   typename Tile::Sum* sums, ProductOut out) {
  Tile product;
  product.clear();
  {
    const ProductPlace<Tile> place(blockIdx.x, a.rows, b.rows);
    const std::int64_t begin = place.part * part_bytes, end = begin + part_bytes;
    product.run(shared<typename Tile::Shared>(), a, place.row0, b, place.col0, begin, end < depth_bytes ? end : depth_bytes);
  }
  // Found again: registers were full of sums.
  const ProductPlace<Tile> place(static_cast<unsigned>(opaque(blockIdx.x)), a.rows, b.rows);
  if (parts > 1) {
    out = {reinterpret_cast<float*>(sums + place.part * a.rows * b.rows), b.rows, 1, nullptr, nullptr, false};
  }
  put_tile(product, out, parts > 1, place.row0, a.rows, place.col0, b.rows);
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
