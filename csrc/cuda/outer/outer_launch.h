// SPDX-License-Identifier: Apache-2.0
/// \file
/// Sketches of outer products that never form them. All add to the rows of `out`; no sizes are zero.
#pragma once

#include "cuda/device/context.h"
#include "fimo_fast/outer_project.h"

namespace fimo::cuda {

/// Without `accumulate` it stores, all of out. Workspace: up to 2 piece_bytes, or what one token takes, and what
/// project_vectors needs for it (outer_factored.cu).
void project_factored(Context& context, const ConstTensor3View& a, const ConstTensor3View& delta, const FactoredSketch& sketch,
                      bool accumulate, const MatrixView& out);

/// out += `then` of what project_factored would store, which is not formed: for sketches that sjlt_takes_products, of that many
/// tokens (outer_factored.cu).
void project_factored_sjlt(Context& context, const ConstTensor3View& a, const ConstTensor3View& delta,
                           const FactoredSketch& sketch, const Sketch& then, const MatrixView& out);

/// Workspace: the factors' tables, 4 (k + n + m) bytes or so, and up to piece_bytes / 2; for k beyond what fits shared memory
/// twice piece_bytes, or what one token takes (outer_tensor.cu).
void project_tensor(Context& context, const ConstTensor3View& a, const ConstTensor3View& delta, const TensorSketch& sketch,
                    const MatrixView& out);

/// `kept` are the outputs that keep an entry of the slice at `offset`, and the columns of `out`. Workspace: 12 bytes an output,
/// at most piece_bytes, and up to piece_bytes / 2 (outer_mask.cu).
void project_outer_mask(Context& context, const ConstTensor3View& a, const ConstTensor3View& delta, const Sketch& sketch,
                        std::int64_t offset, Range kept, const MatrixView& out);

/// x as float32, copied unless it is (outer_factored.cu).
ConstTensor3View as_float(Context& context, const ConstTensor3View& x);

/// x[0:count] = 0 (outer_factored.cu).
void zeros(Context& context, float* x, std::int64_t count);

}  // namespace fimo::cuda
