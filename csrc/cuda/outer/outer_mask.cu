// SPDX-License-Identifier: Apache-2.0
#include "cuda/outer/outer_mask.cuh"

#include "cuda/device/launch.h"
#include "cuda/outer/outer_launch.h"
#include "cuda/outer/token_parts.h"

namespace fimo::cuda {
namespace {

constexpr std::int64_t kMaxGrid = (std::int64_t{1} << 31) - 1;
constexpr std::int64_t kWantedBlocks = 8 * kMultiprocessors;
constexpr std::int64_t kMinPartTokens = 32;
constexpr int kAtOnce = 4, kMaxGroup = 8;  // examples

template <class Element>
void gather(Context& context, const ConstTensor3View& a, const ConstTensor3View& delta, const MaskPositions& positions,
            const MatrixView& out) {
  const std::int64_t blocks = ceil_div(out.cols, kOuterMaskThreads);
  require(blocks <= kMaxGrid / a.batch, "a: expected at most 2^31 blocks of outputs, got ", a.batch, " examples of ", blocks);
  const Context::Scope scope(context);
  const TokenParts parts(context, a.tokens, blocks * a.batch, kWantedBlocks, kMinPartTokens, out);
  const std::int64_t group = smaller(kMaxGroup, blocks * a.batch / kWantedBlocks) / kAtOnce * kAtOnce;
  const OuterMaskTask<Element> task{static_cast<const Element*>(a.data),
                                    static_cast<const Element*>(delta.data),
                                    a.batch_stride,
                                    a.token_stride,
                                    delta.batch_stride,
                                    delta.token_stride,
                                    a.tokens,
                                    parts.length(),
                                    positions,
                                    out.cols,
                                    a.batch,
                                    static_cast<int>(larger(1, group)),
                                    static_cast<float*>(out.data),
                                    out.row_stride,
                                    parts.others()};
  const auto kernel = task.group > 1 ? outer_mask_kernel<Element, kAtOnce> : outer_mask_kernel<Element, 1>;
  const auto grid = static_cast<unsigned>(blocks * ceil_div(a.batch, task.group));
  context.launch(kernel, {dim3(grid, static_cast<unsigned>(parts.count())), kOuterMaskThreads}, task);
  parts.add(context);
}

}  // namespace

void project_outer_mask(Context& context, const ConstTensor3View& a, const ConstTensor3View& delta, const Sketch& sketch,
                        std::int64_t offset, Range kept, const MatrixView& out) {
  const std::int64_t most = smaller(larger(1, piece_bytes / 12), kept.end - kept.begin);
  const Context::Scope scope(context);
  const MaskPositions positions{context.take<std::uint32_t>(most), context.take<std::uint32_t>(most),
                                context.take<float>(most)};
  for (std::int64_t first = kept.begin; first < kept.end; first += most) {
    const std::int64_t count = smaller(most, kept.end - first);
    context.launch(mask_positions_kernel, {static_cast<unsigned>(ceil_div(count, kOuterMaskThreads)), kOuterMaskThreads},
                   sketch.input_dim, sketch.sketch_dim, sketch.seed, offset, a.dim, first, count, positions);
    const MatrixView target{advance(out.data, first - kept.begin, out.dtype), out.dtype, out.rows, count, out.row_stride};
    switch (a.dtype) {
      case DType::kBFloat16: gather<__nv_bfloat16>(context, a, delta, positions, target); break;
      case DType::kFloat16: gather<__half>(context, a, delta, positions, target); break;
      default: gather<float>(context, a, delta, positions, target); break;
    }
  }
}

}  // namespace fimo::cuda
