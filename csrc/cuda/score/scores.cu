// SPDX-License-Identifier: Apache-2.0
// scores and the matrix product behind it: the choice of the tile, and the cut of the depth where there are few tiles.
#include "cuda/score/scores.cuh"

#include "cuda/device/entry.h"
#include "cuda/score/products.h"

namespace fimo::cuda {
namespace {

template <class Tile>
void run_products(Context& context, const TileRows& a, const TileRows& b, std::int64_t depth, const ProductPlan& plan,
                  const ProductOut& out) {
  using Sum = typename Tile::Sum;
  const std::int64_t depth_bytes = depth * Tile::Element::kBytes;
  const std::int64_t tiles = ceil_div(a.rows, Tile::kRows) * ceil_div(b.rows, Tile::kCols);
  const std::int64_t parts = plan.parts;
  Sum* sums = parts > 1 ? context.take<Sum>(parts * a.rows * b.rows) : nullptr;
  context.launch(product_kernel<Tile>, {static_cast<unsigned>(tiles * parts), Tile::kThreads, sizeof(typename Tile::Shared)}, a,
                 b, depth_bytes, plan.part_bytes, parts, sums, out);
  if (parts == 1) return;
  context.launch(finish_product_kernel<Sum>, {static_cast<unsigned>(ceil_div(a.rows * b.rows, kFinishThreads)), kFinishThreads},
                 sums, parts, a.rows, b.rows, out);
}

template <class Element>
void products_of_type(Context& context, const TileRows& a, const TileRows& b, std::int64_t depth, const ProductOut& out) {
  using Flat = FlatTile<Element>;
  if (a.rows <= Flat::kRows) return run_products<Flat>(context, a, b, depth, plan_with<Flat>(a.rows, b.rows, depth), out);
  if (b.rows <= Flat::kRows) {
    const ProductOut turned{out.data, out.col_stride, out.row_stride, out.col_scales, out.row_scales, out.accumulate};
    return run_products<Flat>(context, b, a, depth, plan_with<Flat>(b.rows, a.rows, depth), turned);
  }
  const ProductPlan plan = plan_of<Element>(a.rows, b.rows, depth);
  if (plan.small) return run_products<SmallTile<Element>>(context, a, b, depth, plan, out);
  run_products<WideTile<Element>>(context, a, b, depth, plan, out);
}

}  // namespace

void products(Context& context, DType dtype, const TileRows& a, const TileRows& b, std::int64_t depth, const ProductOut& out) {
  require(!out.accumulate || dtype == DType::kFloat32, "dtype: sums are added to float32 products only, got ",
          dtype_name(dtype));
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
