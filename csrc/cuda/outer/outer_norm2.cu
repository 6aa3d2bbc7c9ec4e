// SPDX-License-Identifier: Apache-2.0
// Squared norms of sums of outer products: sums of squares for one token, Gram matrices, or formed gradients for many tokens.
#include "cuda/outer/outer_norm2.cuh"

#include "cuda/device/entry.h"
#include "cuda/device/launch.h"
#include "cuda/outer/form.h"

namespace fimo::cuda {
namespace {

template <class Element>
void sum_squares_of(Context& context, std::int64_t batch, const SquaresRows& first, const SquaresRows& second, float* sums,
                    std::int64_t stride) {
  const bool is_short = larger(first.cols, second.cols) <= kShortRow;
  const std::int64_t parts = first.parts + second.parts, rows = is_short ? kSquaresThreads / kWarp : 1;
  const LaunchShape shape{static_cast<unsigned>(ceil_div(batch, rows) * parts), kSquaresThreads,
                          is_short ? 0 : sizeof(SquaresShared)};
  context.launch(is_short ? sum_squares_kernel<Element, kWarp> : sum_squares_kernel<Element, kSquaresThreads>, shape, first,
                 second, batch, sums, stride);
}

void sum_squares(Context& context, DType dtype, std::int64_t batch, const SquaresRows& first, const SquaresRows& second,
                 float* sums, std::int64_t stride) {
  switch (dtype) {
    case DType::kBFloat16: return sum_squares_of<BFloat16>(context, batch, first, second, sums, stride);
    case DType::kFloat16: return sum_squares_of<Float16>(context, batch, first, second, sums, stride);
    default: return sum_squares_of<Float32>(context, batch, first, second, sums, stride);
  }
}

void finish(Context& context, const float* sums, std::int64_t count, std::int64_t count2, const MatrixView& out) {
  context.launch(norm_finish_kernel, {static_cast<unsigned>(ceil_div(out.rows, kPairThreads)), kPairThreads}, sums, count,
                 count2, out.rows, static_cast<float*>(out.data), out.row_stride);
}

void norm_one_token(Context& context, const ConstTensor3View& a, const ConstTensor3View& delta, const MatrixView& out) {
  const std::int64_t parts = ceil_div(a.dim, kSquaresPart), parts2 = ceil_div(delta.dim, kSquaresPart);
  float* sums = context.take<float>((parts + parts2) * a.batch);
  sum_squares(context, a.dtype, a.batch, {a.data, a.batch_stride, a.dim, parts},
              {delta.data, delta.batch_stride, delta.dim, parts2}, sums, a.batch);
  finish(context, sums, parts, parts2, out);
}

void norm_grams(Context& context, const ConstTensor3View& a, const ConstTensor3View& delta, const MatrixView& out) {
  const std::int64_t together = larger(1, kPairTokens / a.tokens), tiles = ceil_div(a.tokens, kPairTokens);
  const std::int64_t pairs = tiles * (tiles + 1) / 2, size = dtype_size(a.dtype);
  float* sums = context.take<float>(pairs * a.batch);
  const PairFactors factors{
      {tile_rows(a), tile_rows(delta)}, {tile_rows(a), tile_rows(delta)}, {a.dim * size, delta.dim * size}};
  const auto kernel = a.dtype == DType::kFloat32    ? pair_norm_kernel<Float32>
                      : a.dtype == DType::kBFloat16 ? pair_norm_kernel<BFloat16>
                                                    : pair_norm_kernel<Float16>;
  context.launch(kernel, {static_cast<unsigned>(ceil_div(a.batch, together) * pairs), kPairThreads, sizeof(PairShared)},
                 factors, NormPlan{a.batch, a.tokens, together, tiles}, sums);
  finish(context, sums, pairs, 0, out);
}

/// Sums of squares of a bounded number of entries at a time.
void norm_formed(Context& context, const ConstTensor3View& a, const ConstTensor3View& delta, const MatrixView& out) {
  const std::int64_t entries = a.dim * delta.dim, parts = ceil_div(entries, kSquaresPart);
  const std::int64_t piece_parts = smaller(parts, larger(1, piece_bytes / 2 / kSquaresPart));
  const std::int64_t piece = piece_parts * kSquaresPart;
  const std::int64_t group = smaller(a.batch, larger(1, piece_bytes / 2 / piece));
  float* sums = context.take<float>(parts * a.batch);
  float* gradients = context.take<float>(group * piece);
  for (std::int64_t b = 0; b < a.batch; b += group) {
    const Range examples{b, smaller(b + group, a.batch)};
    for (std::int64_t part = 0; part < parts; part += piece_parts) {
      const Range some{part * kSquaresPart, smaller((part + piece_parts) * kSquaresPart, entries)};
      form_gradients(context, a, delta, examples, some, gradients, piece);
      const std::int64_t count = some.end - some.begin;
      sum_squares(context, DType::kFloat32, examples.end - b, {gradients, piece, count, ceil_div(count, kSquaresPart)},
                  {nullptr, 0, 0, 0}, sums + part * a.batch + b, a.batch);
    }
  }
  finish(context, sums, parts, 0, out);
}

/// As for outer_dot, but by symmetry half of the Gram matrices.
bool forms(const ConstTensor3View& a, const ConstTensor3View& delta) {
  const double each = a.dtype == DType::kFloat32 ? 6.0 : 1.0, n = static_cast<double>(a.dim),
               m = static_cast<double>(delta.dim);
  const double tokens = static_cast<double>(a.tokens);
  return (each * tokens + 700.0) * n * m < each * tokens * (tokens + kPairTokens) / 2 * (n + m);
}

void run(Context& context, const ConstTensor3View& a, const ConstTensor3View& delta, const MatrixView& out) {
  check_dtype("a", a.dtype);
  check_outer_norm2(a, delta, out);
  if (a.batch == 0) return;
  if (a.tokens == 0 || a.dim == 0 || delta.dim == 0) return finish(context, nullptr, 0, 0, out);  // empty sums
  if (a.tokens == 1) return norm_one_token(context, a, delta, out);
  if (forms(a, delta)) return norm_formed(context, a, delta, out);
  norm_grams(context, a, delta, out);
}

}  // namespace

void outer_norm2(const ConstTensor3View& a, const ConstTensor3View& delta, const MatrixView& out, const Queue& queue) {
  Context context(queue);
  run(context, a, delta, out);
}

std::int64_t outer_norm2_workspace(const ConstTensor3View& a, const ConstTensor3View& delta, const MatrixView& out) {
  return measure([&](Context& context) { run(context, a, delta, out); });
}

}  // namespace fimo::cuda
