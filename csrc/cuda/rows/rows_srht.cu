// SPDX-License-Identifier: Apache-2.0
#include "cuda/rows/rows_srht.cuh"

#include "common/sketch_sizes.h"
#include "cuda/rows/rows_launch.h"
#include "cuda/rows/rows_srht_long.cuh"
#include "cuda/srht/srht_launch.h"

namespace fimo::cuda {
namespace {

constexpr int kSmallestTile = 11, kLargestTile = 14;
constexpr std::int64_t kThreads = kMultiprocessors * 768;  // that run at once
constexpr std::int64_t kMinPartTokens = 8;

template <class Element, int kBits>
void run_tiles(Context& context, const Rows& rows, RowsSrht task, const MatrixView& out) {
  using Tile = RowsSrhtTile<kBits>;
  const RowsParts parts(context, out, rows.batch, kThreads / Tile::kThreads, rows.tokens / kMinPartTokens);
  task.out = parts.target();
  context.launch(rows_srht_kernel<Element, kBits>, {parts.blocks(), Tile::kThreads, sizeof(typename Tile::Shared)}, rows, task);
  parts.add(context);
}

template <class Element>
void run_slots(Context& context, const Rows& rows, RowsSrht task, const MatrixView& out) {
  const std::int64_t block = std::int64_t{1} << task.log2_block;
  const std::int64_t each = (rows.dim - 1 + block - 1) / block + 1, all = rows.tokens * each;
  const std::int64_t most = smaller(all, larger(1, piece_bytes / 4 / block));
  float* work = context.take<float>(most * block);
  if (context.is_measuring()) return;
  task.out = {static_cast<float*>(out.data), 1, 0, out.row_stride};
  for (std::int64_t example = 0; example < rows.batch; ++example) {
    for (std::int64_t first = 0; first < all; first += most) {
      const RowsSlots slots{work, example, each, first, smaller(most, all - first)};
      const std::int64_t size = slots.count * block;
      context.launch(rows_slots_kernel<Element>, {static_cast<unsigned>(size / kRowsLongThreads), kRowsLongThreads}, rows, task,
                     slots);
      transform_blocks(context, work, size, task.log2_block);
      context.launch(rows_slots_sum_kernel<Element>,
                     {static_cast<unsigned>(ceil_div(out.cols, 4 * kRowsLongThreads)), kRowsLongThreads}, rows, task, slots);
    }
  }
}

template <class Element>
void run(Context& context, const Rows& rows, const RowsSrht& task, const MatrixView& out) {
  if (task.log2_block > kLargestTile) return run_slots<Element>(context, rows, task, out);
  switch (task.log2_block) {
    case 12: return run_tiles<Element, 12>(context, rows, task, out);
    case 13: return run_tiles<Element, 13>(context, rows, task, out);
    case 14: return run_tiles<Element, kLargestTile>(context, rows, task, out);
    default: return run_tiles<Element, kSmallestTile>(context, rows, task, out);
  }
}

}  // namespace

void rows_srht(Context& context, const Rows& rows, DType dtype, const Sketch& sketch, const MatrixView& out) {
  const RowsSrht task{log2_ceil(sketch.sketch_dim),         sketch.sketch_dim,
                      srht_kept_rows(context, sketch),      sketch.seed,
                      static_cast<float>(scale_of(sketch)), {}};
  switch (dtype) {
    case DType::kBFloat16: return run<__nv_bfloat16>(context, rows, task, out);
    case DType::kFloat16: return run<__half>(context, rows, task, out);
    default: return run<float>(context, rows, task, out);
  }
}

}  // namespace fimo::cuda
