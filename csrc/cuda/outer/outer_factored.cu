// SPDX-License-Identifier: Apache-2.0
// FactoredSketch: the factors of a chunk of tokens are sketched into a workspace, and their outer products summed from there.
#include "cuda/outer/outer_factored.cuh"

#include "cuda/device/launch.h"
#include "cuda/outer/form.h"
#include "cuda/outer/outer_launch.h"
#include "cuda/sjlt/sjlt_launch.h"

namespace fimo::cuda {
namespace {

bool evenly_spaced(const ConstTensor3View& x) {
  return x.batch == 1 || x.tokens == 1 || x.batch_stride == x.tokens * x.token_stride;
}

/// x in rows without gaps. From, To: see even_tokens_kernel.
template <class From, class To>
ConstTensor3View copied(Context& context, const ConstTensor3View& x, DType dtype) {
  const std::int64_t count = x.batch * x.tokens * x.dim;
  auto* copy = context.take<To>(count);
  context.launch(even_tokens_kernel<From, To>, {static_cast<unsigned>(ceil_div(count, kCopyThreads)), kCopyThreads},
                 static_cast<const From*>(x.data), x.batch_stride, x.token_stride, x.tokens, x.dim, count, copy);
  return {copy, dtype, x.batch, x.tokens, x.dim, x.tokens * x.dim, x.dim};
}

/// All tokens as the rows of a matrix.
ConstMatrixView token_rows(Context& context, const ConstTensor3View& x) {
  if (!evenly_spaced(x)) {
    const bool wide = dtype_size(x.dtype) == 4;
    return token_rows(context, wide ? copied<std::uint32_t, std::uint32_t>(context, x, x.dtype)
                                    : copied<std::uint16_t, std::uint16_t>(context, x, x.dtype));
  }
  return {x.data, x.dtype, x.batch * x.tokens, x.dim, x.tokens == 1 ? x.batch_stride : x.token_stride};
}

/// into (zeros) += the sketches of all tokens.
void sketch_tokens(Context& context, const ConstTensor3View& x, const Sketch& sketch, float* into) {
  const Context::Scope scope(context);
  const ConstMatrixView rows = token_rows(context, x);
  project_vectors(context, rows, sketch, 0, {into, DType::kFloat32, rows.rows, sketch.sketch_dim, sketch.sketch_dim});
}

/// visit(sketched a, sketched delta, some rows of out, whether they are the first of these) for tokens at a time; float32
/// without gaps.
template <class Visit>
void for_sketched_tokens(Context& context, const ConstTensor3View& a, const ConstTensor3View& delta,
                         const FactoredSketch& sketch, const MatrixView& out, const Visit& visit) {
  const std::int64_t cols = sketch.a.sketch_dim, rows = sketch.delta.sketch_dim, element = dtype_size(a.dtype);
  const std::int64_t copy = larger(evenly_spaced(a) ? 0 : a.dim, evenly_spaced(delta) ? 0 : delta.dim) * element;
  const std::int64_t token_bytes = 4 * (cols + rows) + copy;
  const std::int64_t chunk = larger(1, 2 * piece_bytes / token_bytes);
  const std::int64_t at_once = smaller(a.tokens, chunk > 512 ? chunk / 512 * 512 : chunk);
  const std::int64_t group = smaller(a.batch, larger(1, at_once == a.tokens ? chunk / a.tokens : 1));
  for (std::int64_t b = 0; b < a.batch; b += group) {
    const Range examples{b, smaller(b + group, a.batch)};
    const MatrixView target = some_rows(out, examples);
    for (std::int64_t t = 0; t < a.tokens; t += at_once) {
      const Range tokens{t, smaller(t + at_once, a.tokens)};
      const std::int64_t count = tokens.end - tokens.begin;
      const auto part = [&](const ConstTensor3View& x) { return some_tokens(some_examples(x, examples), tokens); };
      const Context::Scope scope(context);
      const std::int64_t padded = round_up(target.rows * count * cols, 4);  // 16-byte vectors
      float* sketched_a = context.take<float>(padded + target.rows * count * rows);
      float* sketched_delta = sketched_a ? sketched_a + padded : nullptr;
      zeros(context, sketched_a, padded + target.rows * count * rows);
      sketch_tokens(context, part(a), sketch.a, sketched_a);
      sketch_tokens(context, part(delta), sketch.delta, sketched_delta);
      visit(ConstTensor3View{sketched_a, DType::kFloat32, target.rows, count, cols, count * cols, cols},
            ConstTensor3View{sketched_delta, DType::kFloat32, target.rows, count, rows, count * rows, rows}, target, t == 0);
    }
  }
}

}  // namespace

ConstTensor3View as_float(Context& context, const ConstTensor3View& x) {
  switch (x.dtype) {
    case DType::kBFloat16: return copied<__nv_bfloat16, float>(context, x, DType::kFloat32);
    case DType::kFloat16: return copied<__half, float>(context, x, DType::kFloat32);
    default: return x;
  }
}

void zeros(Context& context, float* x, std::int64_t count) {
  context.launch(zeros_kernel, {static_cast<unsigned>(ceil_div(count, 4 * kCopyThreads)), kCopyThreads}, x, count);
}

void project_factored(Context& context, const ConstTensor3View& a, const ConstTensor3View& delta, const FactoredSketch& sketch,
                      bool accumulate, const MatrixView& out) {
  for_sketched_tokens(
      context, a, delta, sketch, out,
      [&](const ConstTensor3View& some_a, const ConstTensor3View& some_delta, const MatrixView& target, bool first) {
        sum_outer_products(context, some_a, some_delta, {0, some_a.dim * some_delta.dim}, accumulate || !first, target);
      });
}

void project_factored_sjlt(Context& context, const ConstTensor3View& a, const ConstTensor3View& delta,
                           const FactoredSketch& sketch, const Sketch& then, const MatrixView& out) {
  for_sketched_tokens(context, a, delta, sketch, out,
                      [&](const ConstTensor3View& some_a, const ConstTensor3View& some_delta, const MatrixView& target, bool) {
                        project_sjlt_products(context, some_a, some_delta, then, target);
                      });
}

}  // namespace fimo::cuda
