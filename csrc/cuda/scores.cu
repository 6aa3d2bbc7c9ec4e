// SPDX-License-Identifier: Apache-2.0
// scores and the matrix product behind it: the choice of the tile, and the cut of the depth where there are few tiles.
#include "cuda/scores.cuh"

#include "cuda/entry.h"
#include "cuda/products.h"

namespace fimo::cuda {
namespace {

constexpr std::int64_t kMaxPartBytes = std::int64_t{64} << 20;
constexpr std::int64_t kMultiprocessors = 132;  // of an H100: only speed depends on it

/// Parts of the depth, of `slices` slices: least time for `tiles` tiles of `outputs` products, of which `together` run at once,
/// in units of the time of a slice. Starting and ending a tile takes about 16 of them, and parts are written and read at about
/// 1 MiB each.
std::int64_t depth_parts(std::int64_t slices, std::int64_t least, std::int64_t tiles, std::int64_t together,
                         std::int64_t outputs) {
  std::int64_t best = least, best_cost = 0;
  for (std::int64_t parts = least; parts == least || (parts <= slices / 8 && parts <= 1024); ++parts) {
    if (parts > least && parts * outputs * 4 > kMaxPartBytes) break;
    const std::int64_t finish = parts == 1 ? 0 : 16 + parts * outputs * 8 / (1 << 20);
    const std::int64_t cost = ceil_div(tiles * parts, together) * (ceil_div(slices, parts) + 16) + finish;
    if (parts == least || cost < best_cost) best = parts, best_cost = cost;
  }
  return best;
}

template <class Tile>
void run_products(Context& context, const TileRows& a, const TileRows& b, std::int64_t depth, const ProductOut& out) {
  using Sum = typename Tile::Sum;
  const std::int64_t depth_bytes = depth * Tile::Element::kBytes, slices = ceil_div(depth_bytes, kSliceBytes);
  const std::int64_t tiles = ceil_div(a.rows, Tile::kRows) * ceil_div(b.rows, Tile::kCols);
  const std::int64_t least = Tile::Element::kType == DType::kInt8 ? larger(1, ceil_div(depth, kMaxInt8Depth)) : 1;
  const std::int64_t together = kMultiprocessors * (Tile::kRows == 16 ? 2 : 1);
  std::int64_t parts = depth_parts(slices, least, tiles, together, a.rows * b.rows);
  const std::int64_t part_slices = larger(1, ceil_div(slices, parts));
  parts = larger(1, ceil_div(slices, part_slices));

  // Pieces whose parts fit the workspace.
  std::int64_t rows = a.rows, cols = b.rows;
  if (parts > 1 && parts * rows * cols * 4 > kMaxPartBytes) {
    const std::int64_t fit = kMaxPartBytes / 4 / parts;
    rows = smaller(rows, larger(1, fit / Tile::kCols / Tile::kRows) * Tile::kRows);
    cols = smaller(cols, larger(1, fit / rows / Tile::kCols) * Tile::kCols);
  }
  Sum* sums = parts > 1 ? context.take<Sum>(parts * rows * cols) : nullptr;
  for (std::int64_t row = 0; row < a.rows; row += rows) {
    for (std::int64_t col = 0; col < b.rows; col += cols) {
      const ProductRange range{row, smaller(row + rows, a.rows), col, smaller(col + cols, b.rows)};
      const std::int64_t count = range.last_row - range.first_row, count2 = range.last_col - range.first_col;
      const std::int64_t blocks = ceil_div(count, Tile::kRows) * ceil_div(count2, Tile::kCols) * parts;
      context.launch(product_kernel<Tile>, {static_cast<unsigned>(blocks), Tile::kThreads, sizeof(typename Tile::Shared)}, a, b,
                     range, depth_bytes, part_slices * kSliceBytes, parts, sums, out);
      if (parts == 1) continue;
      context.launch(finish_product_kernel<Sum>,
                     {static_cast<unsigned>(ceil_div(count * count2, kFinishThreads)), kFinishThreads}, sums, parts, range,
                     out);
    }
  }
}

template <class Element>
void products_of_type(Context& context, const TileRows& a, const TileRows& b, std::int64_t depth, const ProductOut& out) {
  constexpr std::int64_t kFlatRows = FlatTile<Element>::kRows;
  if (a.rows <= kFlatRows) return run_products<FlatTile<Element>>(context, a, b, depth, out);
  if (b.rows <= kFlatRows) {
    const ProductOut turned{out.data, out.col_stride, out.row_stride, out.col_scales, out.row_scales, out.accumulate};
    return run_products<FlatTile<Element>>(context, b, a, depth, turned);
  }
  run_products<WideTile<Element>>(context, a, b, depth, out);
}

}  // namespace

void products(Context& context, DType dtype, const TileRows& a, const TileRows& b, std::int64_t depth, const ProductOut& out) {
  switch (dtype) {
    case DType::kFloat32: return products_of_type<Float32>(context, a, b, depth, out);
    case DType::kBFloat16: return products_of_type<BFloat16>(context, a, b, depth, out);
    case DType::kFloat16: return products_of_type<Float16>(context, a, b, depth, out);
    case DType::kInt8: return products_of_type<Int8>(context, a, b, depth, out);
    case DType::kFloat64: break;
  }
  require(false, "queries: float64 on CUDA");
}

void inner_products(Context& context, const ConstMatrixView& queries, const ConstMatrixView& features, const RowScales& scales,
                    bool accumulate, const MatrixView& out) {
  products(context, queries.dtype, tile_rows(queries), tile_rows(features), queries.cols,
           {static_cast<float*>(out.data), out.row_stride, 1, scales.queries, scales.features, accumulate});
}

namespace {

void run(Context& context, const ConstMatrixView& queries, const ConstMatrixView& features, const MatrixView& out,
         const RowScales& scales) {
  check_dtype("queries", queries.dtype, true);
  check_score_inputs(queries, features, scales);
  check_out(out, queries.rows, features.rows, queries.dtype);
  if (queries.rows > 0 && features.rows > 0) inner_products(context, queries, features, scales, false, out);
}

}  // namespace

void scores(const ConstMatrixView& queries, const ConstMatrixView& features, const MatrixView& out, const Queue& queue,
            const RowScales& scales) {
  Context context(queue);
  run(context, queries, features, out, scales);
}

std::int64_t scores_workspace(const ConstMatrixView& queries, const ConstMatrixView& features, const MatrixView& out,
                              const RowScales& scales) {
  return measure([&](Context& context) { run(context, queries, features, out, scales); });
}

}  // namespace fimo::cuda
