// SPDX-License-Identifier: Apache-2.0
/// \file
/// Numbers that follow from a sketch's description, for the drivers of all devices.
#pragma once

#include <cmath>
#include <cstdint>

#include "common/common.h"
#include "common/mask.h"
#include "fimo_fast/sketch.h"

namespace fimo {

/// What each number of the input is multiplied by.
inline double scale_of(const Sketch& sketch) {
  return 1.0 / std::sqrt(static_cast<double>(sketch.kind == SketchKind::kSjlt ? sketch.nonzeros : sketch.sketch_dim));
}

/// L, the length of an SRHT's block.
inline std::int64_t srht_block(const Sketch& sketch) {
  std::int64_t block = 1;
  while (block < sketch.sketch_dim) block *= 2;
  return block;
}

/// The outputs of a mask whose coordinates lie in [begin, end); consecutive, since strata are.
inline Range kept_outputs(const Sketch& sketch, std::int64_t begin, std::int64_t end) {
  const auto coordinate = [&](std::int64_t c) {
    return mask_entry(sketch.input_dim, sketch.sketch_dim, sketch.seed, c).coordinate;
  };
  Range outputs{mask_output(sketch.input_dim, sketch.sketch_dim, begin),
                mask_output(sketch.input_dim, sketch.sketch_dim, end - 1) + 1};
  if (coordinate(outputs.begin) < begin) ++outputs.begin;
  if (outputs.end > outputs.begin && coordinate(outputs.end - 1) >= end) --outputs.end;
  return outputs;
}

}  // namespace fimo
