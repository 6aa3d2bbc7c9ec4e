// SPDX-License-Identifier: Apache-2.0
/// \file
/// What every projection kernel reads.
#pragma once

#include <cstdint>

namespace fimo {

/// Rows of scaled slices of gradients.
struct SketchInput {
  const void* grads;        // [rows, dim]
  std::int64_t row_stride;  // elements
  std::int64_t rows;
  std::int64_t dim;
  std::uint64_t first_coordinate;  // of column 0, in the sketch's input
  double scale;                    // applied to each element, rounded to the accumulator type first
  std::uint64_t seed;
};

}  // namespace fimo
