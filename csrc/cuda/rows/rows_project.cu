// SPDX-License-Identifier: Apache-2.0
// Sketches of the gradients of embeddings on CUDA: checks, the lists of rows, and the kernels of all sketches but the SRHT.
#include "common/sketch_sizes.h"
#include "cuda/device/entry.h"
#include "cuda/rows/rows_dense.cuh"
#include "cuda/rows/rows_launch.h"
#include "cuda/rows/rows_lists.cuh"
#include "cuda/rows/rows_mask.cuh"
#include "cuda/rows/rows_sjlt.cuh"
#include "cuda/sjlt/sjlt_launch.h"

namespace fimo::cuda {
namespace {

constexpr std::int64_t kMaxGroupTokens = 32768;              // of several examples: sorting a group takes their square
constexpr std::int64_t kDenseBlocks = kMultiprocessors * 4;  // that run at once
constexpr std::int64_t kDensePartTokens = 8;                 // at least
constexpr std::int64_t kSjltBlocks = kMultiprocessors * 2;

/// A grid of blocks for `count` items, `each` in a block.
unsigned grid(std::int64_t count, std::int64_t each) {
  const std::int64_t blocks = ceil_div(count, each);
  require(blocks < std::int64_t{1} << 31, "delta: expected fewer than 2^31 blocks, got ", blocks);
  return static_cast<unsigned>(blocks);
}

/// Sorted lists of the tokens that count, for groups of some examples.
template <class Element>
Rows sorted_rows(Context& context, const RowsIndex& index, const ConstTensor3View& delta, std::int64_t offset,
                 std::int64_t examples) {
  const std::int64_t groups = ceil_div(delta.batch, examples), capacity = examples * delta.tokens;
  require(capacity < std::int64_t{1} << 31, "delta: expected fewer than 2^31 tokens, got ", delta.tokens);
  auto* keys = context.take<std::int64_t>(delta.batch * delta.tokens);
  const Rows rows{delta.data,
                  delta.batch_stride,
                  delta.token_stride,
                  delta.batch,
                  delta.tokens,
                  delta.dim,
                  offset,
                  examples,
                  context.take<std::int64_t>(groups * capacity),
                  context.take<std::int64_t>(groups * capacity),
                  context.take<std::int32_t>(groups * capacity),
                  context.take<std::int32_t>(groups)};
  context.launch(rows_keys_kernel<Element>, {grid(delta.batch * delta.tokens, kRowsThreads / kWarp), kRowsThreads}, rows, index,
                 keys);
  const std::int64_t blocks = ceil_div(capacity + 1, kRowsThreads);
  context.launch(rows_rank_kernel, {grid(groups * blocks, 1), kRowsThreads, sizeof(RowsRankShared)}, rows, keys, blocks);
  return rows;
}

template <class Element>
void rows_mask(Context& context, const Rows& rows, const Sketch& sketch, const MatrixView& out) {
  const std::int64_t first = mask_output(sketch.input_dim, sketch.sketch_dim, rows.offset);
  const std::int64_t blocks = ceil_div(sketch.sketch_dim - first, kRowsMaskThreads);
  const RowsMask task{sketch.input_dim, sketch.sketch_dim, sketch.seed, first, blocks, static_cast<float*>(out.data),
                      out.row_stride};
  context.launch(rows_mask_kernel<Element>, {grid(ceil_div(rows.batch, kRowsMaskExamples) * blocks, 1), kRowsMaskThreads}, rows,
                 task);
}

template <class Element>
void rows_sjlt(Context& context, const Rows& rows, const Sketch& sketch, const MatrixView& out) {
  const std::int64_t chunk = larger(1, smaller(kRowsSjltQuads, kSjltMeanList * sketch.sketch_dim / 4));
  const std::int64_t chunks = ceil_div(rows.tokens * rows_sjlt_quads(rows.dim, sketch.nonzeros), chunk);
  const RowsParts parts(context, out, rows.batch, kSjltBlocks, chunks);
  const RowsSjlt task{sjlt_blocks(sketch), static_cast<int>(sketch.sketch_dim),  static_cast<int>(chunk),
                      sketch.seed,         static_cast<float>(scale_of(sketch)), parts.target()};
  context.launch(rows_sjlt_kernel<Element>, {parts.blocks(), kRowsSjltThreads, sizeof(RowsSjltShared)}, rows, task);
  parts.add(context);
}

/// Without lists, one example after the other.
void rows_sjlt_wide(Context& context, const RowsIndex& index, const ConstTensor3View& delta, const Sketch& sketch,
                    std::int64_t offset, const MatrixView& out) {
  const SjltWideWorkspace workspace(context);
  if (context.is_measuring()) return;
  for (std::int64_t b = 0; b < delta.batch; ++b) {
    const ConstTensor3View one = some_examples(delta, {b, b + 1});
    const SjltPlaces places{
        index.index + b * index.stride, static_cast<std::uint64_t>(offset), delta.dim, delta.token_stride, index.limit, 0,
        delta.tokens * delta.dim};
    add_sjlt_wide(context, workspace, {one.data, one.dtype, 1, places.count, 0}, places, sketch, some_rows(out, {b, b + 1}));
  }
}

template <class Element, class Entries>
void rows_dense(Context& context, const Rows& rows, const Sketch& sketch, const MatrixView& out) {
  const std::int64_t tiles = ceil_div(sketch.sketch_dim, 128 * kRowsWarps), groups = ceil_div(rows.batch, rows.examples);
  const RowsParts parts(context, out, tiles * groups, kDenseBlocks, rows.capacity() / kDensePartTokens);
  const RowsDense task{sketch.sketch_dim, sketch.seed, static_cast<float>(scale_of(sketch)), tiles, parts.target()};
  context.launch(rows_dense_kernel<Element, Entries>, {parts.blocks(), kRowsWarps * kWarp, sizeof(RowsDenseShared<Entries>)},
                 rows, task);
  parts.add(context);
}

template <class Element>
void run(Context& context, const RowsIndex& index, const ConstTensor3View& delta, const Sketch& sketch, std::int64_t offset,
         const MatrixView& out) {
  if (sketch.kind == SketchKind::kSjlt && sjlt_is_wide(sketch))
    return rows_sjlt_wide(context, index, delta, sketch, offset, out);
  const bool dense = sketch.kind == SketchKind::kRademacher || sketch.kind == SketchKind::kGaussian;
  const std::int64_t together = smaller(kRowsExamples, smaller(delta.batch, kMaxGroupTokens / delta.tokens));
  const Rows rows = sorted_rows<Element>(context, index, delta, offset, dense ? larger(1, together) : 1);
  switch (sketch.kind) {
    case SketchKind::kRademacher: return rows_dense<Element, RowsSigns>(context, rows, sketch, out);
    case SketchKind::kGaussian: return rows_dense<Element, RowsNormals>(context, rows, sketch, out);
    case SketchKind::kMask: return rows_mask<Element>(context, rows, sketch, out);
    case SketchKind::kSjlt: return rows_sjlt<Element>(context, rows, sketch, out);
    case SketchKind::kSrht: return rows_srht(context, rows, delta.dtype, sketch, out);
  }
}

void run(Context& context, const ConstIndexView& index, const ConstTensor3View& delta, const Sketch& sketch,
         std::int64_t offset, const MatrixView& out) {
  check_dtype("delta", delta.dtype);
  check_rows_project(index, delta, sketch, offset, out);
  if (delta.batch == 0 || delta.tokens == 0) return;
  // Any number of rows that have no numbers.
  const RowsIndex rows{index.data, index.batch_stride, delta.dim ? (sketch.input_dim - offset) / delta.dim : INT64_MAX};
  if (delta.dim > 0) {
    switch (delta.dtype) {
      case DType::kBFloat16: run<__nv_bfloat16>(context, rows, delta, sketch, offset, out); break;
      case DType::kFloat16: run<__half>(context, rows, delta, sketch, offset, out); break;
      default: run<float>(context, rows, delta, sketch, offset, out);
    }
  }
  context.launch(rows_out_of_range_kernel, {grid(delta.batch, 1), kRowsThreads}, rows, delta.tokens,
                 static_cast<float*>(out.data), out.row_stride, out.cols);
}

}  // namespace

void rows_project(const ConstIndexView& index, const ConstTensor3View& delta, const Sketch& sketch, std::int64_t offset,
                  const MatrixView& out, const Queue& queue) {
  Context context(queue);
  run(context, index, delta, sketch, offset, out);
}

std::int64_t rows_project_workspace(const ConstIndexView& index, const ConstTensor3View& delta, const Sketch& sketch,
                                    std::int64_t offset, const MatrixView& out) {
  return measure([&](Context& context) { run(context, index, delta, sketch, offset, out); });
}

}  // namespace fimo::cuda
