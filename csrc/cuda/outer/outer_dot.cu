// SPDX-License-Identifier: Apache-2.0
// Inner products of sums of outer products: Gram matrices of tokens tile by tile, or at once where they are small, or formed
// gradients where tokens are many.
#include "cuda/outer/outer_dot.cuh"

#include "cuda/device/entry.h"
#include "cuda/outer/form.h"
#include "cuda/score/products.h"

namespace fimo::cuda {
namespace {

/// Tokens of a side that one launch takes, in whole examples: bounds the parts of pairs at about 1 MiB.
constexpr std::int64_t kGroupTokens = 8192;
/// Fewer tiles than this leave more than half of a GPU idle.
constexpr std::int64_t kFewTiles = 66;

PairSide side_of(std::int64_t batch, std::int64_t tokens) {
  const bool whole = tokens <= kPairTokens / 4 || kPairTokens % tokens == 0;
  const std::int64_t step = whole ? kPairTokens / tokens * tokens : kPairTokens;
  const std::int64_t parts = whole ? 1 : tokens % step == 0 ? tokens / step : (tokens + step - 2) / step + 1;
  return {batch, tokens, step, parts};
}

using PairKernel = void (*)(PairFactors, PairSide, PairSide, float*, std::int64_t);
PairKernel pair_kernel(DType dtype) {
  return dtype == DType::kFloat32    ? pair_dot_kernel<Float32>
         : dtype == DType::kBFloat16 ? pair_dot_kernel<BFloat16>
                                     : pair_dot_kernel<Float16>;
}

void dot_tiles(Context& context, const ConstTensor3View& a, const ConstTensor3View& delta, const ConstTensor3View& a2,
               const ConstTensor3View& delta2, const MatrixView& out) {
  const std::int64_t group = larger(1, kGroupTokens / a.tokens), group2 = larger(1, kGroupTokens / a2.tokens);
  const std::int64_t size = dtype_size(a.dtype);
  const PairSide most = side_of(smaller(group, a.batch), a.tokens), most2 = side_of(smaller(group2, a2.batch), a2.tokens);
  const std::int64_t parts = most.parts * most2.parts;
  float* workspace = parts > 1 ? context.take<float>(parts * most.batch * most2.batch) : nullptr;
  for (std::int64_t b = 0; b < a.batch; b += group) {
    for (std::int64_t c = 0; c < a2.batch; c += group2) {
      const Range some{b, smaller(b + group, a.batch)}, some2{c, smaller(c + group2, a2.batch)};
      const PairSide rows = side_of(some.end - b, a.tokens), cols = side_of(some2.end - c, a2.tokens);
      const PairFactors factors{{tile_rows(some_examples(a, some)), tile_rows(some_examples(delta, some))},
                                {tile_rows(some_examples(a2, some2)), tile_rows(some_examples(delta2, some2))},
                                {a.dim * size, delta.dim * size}};
      float* target = static_cast<float*>(out.data) + b * out.row_stride + c;
      const std::int64_t tiles = ceil_div(rows.batch * rows.tokens, rows.step) * ceil_div(cols.batch * cols.tokens, cols.step);
      context.launch(pair_kernel(a.dtype), {static_cast<unsigned>(tiles), kPairThreads, sizeof(PairShared)}, factors, rows,
                     cols, parts > 1 ? workspace : target, parts > 1 ? cols.batch : out.row_stride);
      if (parts == 1) continue;
      const auto blocks = static_cast<unsigned>(ceil_div(rows.batch * cols.batch, kPairThreads));
      context.launch(pair_finish_kernel, {blocks, kPairThreads}, workspace, rows, cols, target, out.row_stride);
    }
  }
}

/// Both Gram matrices, and the sums of their products.
void dot_grams(Context& context, const ConstTensor3View& a, const ConstTensor3View& delta, const ConstTensor3View& a2,
               const ConstTensor3View& delta2, const MatrixView& out) {
  const PairSide rows = side_of(a.batch, a.tokens), cols = side_of(a2.batch, a2.tokens);
  const std::int64_t height = a.batch * a.tokens, width = a2.batch * a2.tokens;
  float* grams = context.take<float>(2 * height * width);
  float* second = grams + height * width;
  products(context, a.dtype, tile_rows(a), tile_rows(a2), a.dim, {grams, width, 1, nullptr, nullptr, false});
  products(context, a.dtype, tile_rows(delta), tile_rows(delta2), delta.dim, {second, width, 1, nullptr, nullptr, false});
  int lanes = 1;
  while (lanes < kWarp && lanes < a.tokens * a2.tokens) lanes *= 2;
  const auto blocks = static_cast<unsigned>(ceil_div(a.batch * a2.batch * lanes, kPairThreads));
  context.launch(gram_dot_kernel, {blocks, kPairThreads}, grams, second, rows, cols, lanes, static_cast<float*>(out.data),
                 out.row_stride);
}

/// Inner products of formed gradients, a bounded number of entries of all of them at a time.
void dot_formed(Context& context, const ConstTensor3View& a, const ConstTensor3View& delta, const ConstTensor3View& a2,
                const ConstTensor3View& delta2, const MatrixView& out) {
  const std::int64_t examples = a.batch + a2.batch, entries = a.dim * delta.dim;
  const std::int64_t piece = smaller(round_up(entries, 16), larger(64, piece_bytes / 2 / examples / 64 * 64));
  float* gradients = context.take<float>(examples * piece);
  float* gradients2 = gradients + a.batch * piece;
  for (std::int64_t begin = 0; begin < entries; begin += piece) {
    const Range some{begin, smaller(begin + piece, entries)};
    form_gradients(context, a, delta, {0, a.batch}, some, gradients, piece);
    form_gradients(context, a2, delta2, {0, a2.batch}, some, gradients2, piece);
    const std::int64_t count = some.end - some.begin;
    inner_products(context, {gradients, DType::kFloat32, a.batch, count, piece},
                   {gradients2, DType::kFloat32, a2.batch, count, piece}, {}, begin > 0, out);
  }
}

/// Time of forming against that of Gram matrices, in multiply-adds of 16-bit types; float32 takes six of them. Writing and
/// reading an entry takes as long as about 700.
bool forms(const ConstTensor3View& a, const ConstTensor3View& delta, const ConstTensor3View& a2) {
  const double each = a.dtype == DType::kFloat32 ? 6.0 : 1.0, n = static_cast<double>(a.dim),
               m = static_cast<double>(delta.dim);
  const double batch = static_cast<double>(a.batch), batch2 = static_cast<double>(a2.batch);
  const double rows = batch * static_cast<double>(a.tokens), rows2 = batch2 * static_cast<double>(a2.tokens);
  return (each * (rows + rows2) + 6.0 * batch * batch2 + 700.0 * (batch + batch2)) * n * m < each * rows * rows2 * (n + m);
}

void run(Context& context, const ConstTensor3View& a, const ConstTensor3View& delta, const ConstTensor3View& a2,
         const ConstTensor3View& delta2, const MatrixView& out) {
  check_dtype("a", a.dtype);
  check_outer_dot(a, delta, a2, delta2, out);
  if (a.batch == 0 || a2.batch == 0) return;
  if (a.tokens == 0 || a2.tokens == 0) {  // empty sums
    const TileRows none{nullptr, a.batch, 1, 0, 0, 16}, none2{nullptr, a2.batch, 1, 0, 0, 16};
    return products(context, a.dtype, none, none2, 0,
                    {static_cast<float*>(out.data), out.row_stride, 1, nullptr, nullptr, false});
  }
  if (forms(a, delta, a2)) return dot_formed(context, a, delta, a2, delta2, out);
  const PairSide rows = side_of(a.batch, a.tokens), cols = side_of(a2.batch, a2.tokens);
  const std::int64_t tiles = ceil_div(a.batch * a.tokens, rows.step) * ceil_div(a2.batch * a2.tokens, cols.step);
  const std::int64_t slices = (a.dim + delta.dim) * dtype_size(a.dtype) / kSliceBytes;
  if (tiles <= kFewTiles && slices >= 16) return dot_grams(context, a, delta, a2, delta2, out);
  dot_tiles(context, a, delta, a2, delta2, out);
}

}  // namespace

void outer_dot(const ConstTensor3View& a, const ConstTensor3View& delta, const ConstTensor3View& a2,
               const ConstTensor3View& delta2, const MatrixView& out, const Queue& queue) {
  Context context(queue);
  run(context, a, delta, a2, delta2, out);
}

std::int64_t outer_dot_workspace(const ConstTensor3View& a, const ConstTensor3View& delta, const ConstTensor3View& a2,
                                 const ConstTensor3View& delta2, const MatrixView& out) {
  return measure([&](Context& context) { run(context, a, delta, a2, delta2, out); });
}

}  // namespace fimo::cuda
