// SPDX-License-Identifier: Apache-2.0
/// \file
/// What other rooms call of SRHT.
#pragma once

#include "cuda/device/context.h"
#include "fimo_fast/outer_project.h"
#include "fimo_fast/sketch.h"

namespace fimo::cuda {

inline int log2_ceil(std::int64_t n) {
  int result = 0;
  while (std::int64_t{1} << result < n) ++result;
  return result;
}

/// The rows of the transform that the sketch keeps, increasing; null if it keeps all. Taken from the workspace.
const std::int32_t* srht_kept_rows(Context& context, const Sketch& sketch);

/// Transforms every block of 2^log2_block of work[0:size] in place, in passes of four stages.
void transform_blocks(Context& context, float* work, std::int64_t size, int log2_block);

/// An SRHT of a few tokens of float32, not formed; a.dim up to 2^30, blocks of 32 to 4096.
bool srht_takes_outer(const Sketch& sketch);
void project_srht_outer(Context& context, const ConstTensor3View& a, const ConstTensor3View& delta, const Sketch& sketch,
                        std::int64_t offset, const MatrixView& out);

}  // namespace fimo::cuda
