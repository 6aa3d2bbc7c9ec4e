// SPDX-License-Identifier: Apache-2.0
#include "cuda/outer/outer_tensor.cuh"

#include "cuda/device/launch.h"
#include "cuda/outer/outer_launch.h"
#include "cuda/outer/token_parts.h"

namespace fimo::cuda {
namespace {

constexpr std::int64_t kMaxDim = (std::int64_t{1} << 31) - 1;  // the sign is a column's top bit
constexpr std::int64_t kWantedBlocks = 4 * kMultiprocessors;
constexpr std::int64_t kMinPartTokens = 4;

struct Tables {
  TensorTable a, delta;
};

Tables build_tables(Context& context, const TensorSketch& sketch) {
  const auto table = [&](std::int64_t dim, std::uint64_t seed) {
    return TensorTable{context.take<std::uint32_t>(sketch.sketch_dim + 1), context.take<std::uint32_t>(2 * dim),
                       context.take<std::uint32_t>(sketch.sketch_dim), dim, seed};
  };
  const Tables tables{table(sketch.a_dim, sketch.seed), table(sketch.delta_dim, sketch.seed ^ (std::uint64_t{1} << 63))};
  context.launch(tensor_table_kernel, {2, kTensorTableThreads, sizeof(TensorTableShared)}, tables.a, tables.delta,
                 static_cast<std::uint32_t>(sketch.sketch_dim));
  return tables;
}

template <class Element>
void in_shared(Context& context, const ConstTensor3View& a, const ConstTensor3View& delta, const Tables& tables, int log2_k,
               const MatrixView& out) {
  const Context::Scope scope(context);
  const TokenParts parts(context, a.tokens, a.batch, kWantedBlocks, kMinPartTokens, out);
  const TensorTask<Element> task{static_cast<const Element*>(a.data),
                                 static_cast<const Element*>(delta.data),
                                 a.batch_stride,
                                 a.token_stride,
                                 delta.batch_stride,
                                 delta.token_stride,
                                 a.tokens,
                                 parts.length(),
                                 tables.a,
                                 tables.delta,
                                 log2_k,
                                 a.batch,
                                 static_cast<float*>(out.data),
                                 out.row_stride,
                                 parts.others()};
  const auto grid = [&](int each) {
    return dim3(static_cast<unsigned>(ceil_div(a.batch, each)), static_cast<unsigned>(parts.count()));
  };
  if (out.cols <= kTensorMaxTogether && a.batch >= kTensorExamples * kWantedBlocks / 2) {
    context.launch(tensor_kernel<Element, kTensorExamples>,
                   {grid(kTensorExamples), kTensorThreads, tensor_shared_bytes<kTensorExamples>(log2_k)}, task);
  } else {
    context.launch(tensor_kernel<Element, 1>, {grid(1), kTensorThreads, tensor_shared_bytes<1>(log2_k)}, task);
  }
  parts.add(context);
}

unsigned blocks_for(std::int64_t threads) { return static_cast<unsigned>(threads / kTensorThreads); }  // without a rest

/// x = the transforms of its `count` / 2^log2_k rows.
void transform(Context& context, float* x, std::int64_t count, int log2_k) {
  int low = 0;
  for (; low + 4 <= log2_k; low += 4) context.launch(tensor_pass_kernel<16>, {blocks_for(count / 16), kTensorThreads}, x, low);
  for (; low < log2_k; ++low) context.launch(tensor_pass_kernel<2>, {blocks_for(count / 2), kTensorThreads}, x, low);
}

template <class Element>
void in_workspace(Context& context, const ConstTensor3View& a, const ConstTensor3View& delta, const Tables& tables, int log2_k,
                  const MatrixView& out) {
  const std::int64_t k = out.cols, chunk = larger(1, piece_bytes / (8 * k)), at_once = smaller(a.tokens, chunk);
  const std::int64_t group = smaller(a.batch, larger(1, chunk / a.tokens)), row_blocks = k / kTensorThreads;
  const Context::Scope scope(context);
  float *rows_a = context.take<float>(group * at_once * k), *rows_delta = context.take<float>(group * at_once * k);
  float* sums = context.take<float>(group * k);
  const auto sketched = [&](const ConstTensor3View& x, const TensorTable& table, float* rows) {
    const std::int64_t count = x.batch * x.tokens;
    context.launch(tensor_rows_kernel<Element>, {static_cast<unsigned>(count * row_blocks), kTensorThreads},
                   static_cast<const Element*>(x.data), x.batch_stride, x.token_stride, x.tokens, table, k, rows);
    transform(context, rows, count * k, log2_k);
  };
  for (std::int64_t b = 0; b < a.batch; b += group) {
    const Range examples{b, smaller(b + group, a.batch)};
    const MatrixView target = some_rows(out, examples);
    for (std::int64_t t = 0; t < a.tokens; t += at_once) {
      const Range tokens{t, smaller(t + at_once, a.tokens)};
      sketched(some_tokens(some_examples(a, examples), tokens), tables.a, rows_a);
      sketched(some_tokens(some_examples(delta, examples), tokens), tables.delta, rows_delta);
      context.launch(tensor_product_kernel, {blocks_for(target.rows * k), kTensorThreads}, rows_a, rows_delta,
                     tokens.end - tokens.begin, k, t > 0, sums);
    }
    transform(context, sums, target.rows * k, log2_k);
    add_parts(context, sums, 1, target);
  }
}

template <class Element>
void run(Context& context, const ConstTensor3View& a, const ConstTensor3View& delta, const TensorSketch& sketch,
         const MatrixView& out) {
  const Context::Scope scope(context);
  const Tables tables = build_tables(context, sketch);
  int log2_k = 0;
  while ((std::int64_t{1} << log2_k) < sketch.sketch_dim) ++log2_k;
  if (sketch.sketch_dim <= kTensorMaxShared) return in_shared<Element>(context, a, delta, tables, log2_k, out);
  in_workspace<Element>(context, a, delta, tables, log2_k, out);
}

}  // namespace

void project_tensor(Context& context, const ConstTensor3View& a, const ConstTensor3View& delta, const TensorSketch& sketch,
                    const MatrixView& out) {
  require(a.dim <= kMaxDim && delta.dim <= kMaxDim,
          "sketch: expected last dimensions below 2^31 for a TensorSketch on CUDA, got ", a.dim, " and ", delta.dim);
  switch (a.dtype) {
    case DType::kBFloat16: return run<__nv_bfloat16>(context, a, delta, sketch, out);
    case DType::kFloat16: return run<__half>(context, a, delta, sketch, out);
    default: return run<float>(context, a, delta, sketch, out);
  }
}

}  // namespace fimo::cuda
