// SPDX-License-Identifier: Apache-2.0
// Sketches of vectors on CUDA: checks, and the choice by kind.
#include "cuda/device/entry.h"
#include "cuda/device/launch.h"

namespace fimo::cuda {

void project_vectors(Context& context, const ConstMatrixView& grads, const Sketch& sketch, std::int64_t offset,
                     const MatrixView& out) {
  if (grads.rows == 0 || grads.cols == 0) return;
  switch (sketch.kind) {
    case SketchKind::kRademacher:
    case SketchKind::kGaussian: return project_dense(context, grads, sketch, offset, out);
    case SketchKind::kMask: return project_mask(context, grads, sketch, offset, out);
    case SketchKind::kSjlt: return project_sjlt(context, grads, sketch, offset, out);
    case SketchKind::kSrht: return project_srht(context, grads, sketch, offset, out);
  }
}

namespace {

void run(Context& context, const ConstMatrixView& grads, const Sketch& sketch, std::int64_t offset, const MatrixView& out) {
  check_dtype("grads", grads.dtype);
  check_project(grads, sketch, offset, out);
  project_vectors(context, grads, sketch, offset, out);
}

}  // namespace

void project(const ConstMatrixView& grads, const Sketch& sketch, std::int64_t offset, const MatrixView& out,
             const Queue& queue) {
  Context context(queue);
  run(context, grads, sketch, offset, out);
}

std::int64_t project_workspace(const ConstMatrixView& grads, const Sketch& sketch, std::int64_t offset, const MatrixView& out) {
  return measure([&](Context& context) { run(context, grads, sketch, offset, out); });
}

}  // namespace fimo::cuda
