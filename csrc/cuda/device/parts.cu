// SPDX-License-Identifier: Apache-2.0
#include "cuda/device/parts.cuh"

#include "cuda/device/launch.h"

namespace fimo::cuda {
namespace {

constexpr std::int64_t kFewParts = 8;                              // no more than loads of a thread that are under way at once
constexpr std::int64_t kManyOutputs = kMultiprocessors * 512 * 4;  // four for each thread

}  // namespace

void add_parts(Context& context, const float* parts, std::int64_t count, const MatrixView& out) {
  if (count > kFewParts && out.rows * out.cols < kManyOutputs) {
    const auto blocks = static_cast<unsigned>(ceil_div(out.rows * out.cols, kWarp));
    return context.launch(add_parts_sliced_kernel, {blocks, kPartsThreads, sizeof(PartsSums)}, parts, count, out.rows, out.cols,
                          static_cast<float*>(out.data), out.row_stride);
  }
  const bool one_row = out.row_stride == out.cols;  // without gaps
  const std::int64_t rows = one_row ? 1 : out.rows, cols = one_row ? out.rows * out.cols : out.cols;
  const bool vectors = reinterpret_cast<std::uintptr_t>(out.data) % 16 == 0 && cols % kPartsColumns == 0 &&
                       (rows == 1 || out.row_stride % kPartsColumns == 0);
  int log2_lanes = 0;
  while (kPartsThreads >> log2_lanes > 1 && kPartsColumns << log2_lanes < cols) ++log2_lanes;
  const std::int64_t blocks = ceil_div(rows, kPartsThreads >> log2_lanes) * ceil_div(cols, kPartsColumns << log2_lanes);
  context.launch(vectors ? add_parts_kernel<true> : add_parts_kernel<false>, {static_cast<unsigned>(blocks), kPartsThreads},
                 parts, static_cast<int>(count), rows, cols, log2_lanes, static_cast<float*>(out.data), out.row_stride);
}

}  // namespace fimo::cuda
