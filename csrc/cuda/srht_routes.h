// SPDX-License-Identifier: Apache-2.0
/// \file
/// What srht.cu and rows_srht.cu share.
#pragma once

#include "cuda/context.h"
#include "fimo_fast/sketch.h"

namespace fimo::cuda {

inline int log2_ceil(std::int64_t n) {
  int result = 0;
  while (std::int64_t{1} << result < n) ++result;
  return result;
}

/// The rows of the transform that the sketch keeps, increasing; null if it keeps all. Taken from the workspace (srht.cu).
const std::int32_t* srht_kept_rows(Context& context, const Sketch& sketch);

/// Transforms every block of 2^log2_block of work[0:size] in place, in passes of four stages (srht.cu).
void transform_blocks(Context& context, float* work, std::int64_t size, int log2_block);

}  // namespace fimo::cuda
