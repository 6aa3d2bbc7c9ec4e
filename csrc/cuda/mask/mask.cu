// SPDX-License-Identifier: Apache-2.0
#include "cuda/mask/mask.cuh"

#include "cuda/device/launch.h"

namespace fimo::cuda {
namespace {

template <class Element>
void run(Context& context, const MaskTask& task, const void* x) {
  const std::int64_t col_blocks = ceil_div(task.last_col - task.first_col, kMaskThreads);
  const std::int64_t row_blocks = ceil_div(task.rows, kMaskRows);
  context.launch(mask_kernel<Element>, {static_cast<unsigned>(col_blocks * row_blocks), kMaskThreads}, task,
                 static_cast<const Element*>(x), col_blocks);
}

}  // namespace

void project_mask(Context& context, const ConstMatrixView& grads, const Sketch& sketch, std::int64_t offset,
                  const MatrixView& out) {
  const MaskTask task{grads.row_stride,
                      grads.rows,
                      offset,
                      offset + grads.cols,
                      sketch.input_dim,
                      sketch.sketch_dim,
                      sketch.seed,
                      mask_output(sketch.input_dim, sketch.sketch_dim, offset),
                      mask_output(sketch.input_dim, sketch.sketch_dim, offset + grads.cols - 1) + 1,
                      static_cast<float*>(out.data),
                      out.row_stride};
  switch (grads.dtype) {
    case DType::kFloat32: return run<float>(context, task, grads.data);
    case DType::kBFloat16: return run<__nv_bfloat16>(context, task, grads.data);
    default: return run<__half>(context, task, grads.data);
  }
}

}  // namespace fimo::cuda
