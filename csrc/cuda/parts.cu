// SPDX-License-Identifier: Apache-2.0
#include "cuda/parts.cuh"

#include "cuda/routes.h"

namespace fimo::cuda {

void add_parts(Context& context, const float* parts, std::int64_t count, const MatrixView& out) {
  const auto blocks = static_cast<unsigned>(ceil_div(out.rows * out.cols, kWarp));
  context.launch(add_parts_kernel, {blocks, kPartsThreads, sizeof(PartsSums)}, parts, count, out.rows, out.cols,
                 static_cast<float*>(out.data), out.row_stride);
}

}  // namespace fimo::cuda
