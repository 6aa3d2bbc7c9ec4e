// SPDX-License-Identifier: Apache-2.0
/// \file
/// Which coordinate each output of a Mask sketch keeps. No dependencies: ISA files and device code include this.
#pragma once

#include <cstdint>

#include "fimo_fast/random.h"

namespace fimo {

/// floor(u * v / 2^64), without 128-bit integers; v < 2^48.
FIMO_HOST_DEVICE FIMO_FORCE_INLINE constexpr std::uint64_t multiply_high(std::uint64_t u, std::uint64_t v) {
  const std::uint64_t u0 = u & 0xFFFFFFFFu, u1 = u >> 32, v0 = v & 0xFFFFFFFFu, v1 = v >> 32;
  const std::uint64_t middle = u1 * v0 + ((u0 * v0) >> 32);  // at most (2^32 - 1)^2 + 2^32 - 1
  return u1 * v1 + (middle >> 32) + (((middle & 0xFFFFFFFFu) + u0 * v1) >> 32);
}

/// floor(c * input_dim / sketch_dim), the first coordinate of stratum c; c <= sketch_dim <= 2^30.
FIMO_HOST_DEVICE FIMO_FORCE_INLINE constexpr std::int64_t mask_stratum(std::int64_t input_dim, std::int64_t sketch_dim,
                                                                       std::int64_t c) {
  return c * (input_dim / sketch_dim) + c * (input_dim % sketch_dim) / sketch_dim;
}

/// The stratum of coordinate j: the largest c with mask_stratum(c) <= j.
FIMO_HOST_DEVICE FIMO_FORCE_INLINE constexpr std::int64_t mask_output(std::int64_t input_dim, std::int64_t sketch_dim,
                                                                      std::int64_t j) {
  std::int64_t low = 0, high = sketch_dim;
  while (high - low > 1) {
    const std::int64_t middle = low + (high - low) / 2;
    (mask_stratum(input_dim, sketch_dim, middle) <= j ? low : high) = middle;
  }
  return low;
}

struct MaskEntry {
  std::int64_t coordinate;
  std::int64_t length;  // of the stratum; the entry's value is its root
};

FIMO_HOST_DEVICE FIMO_FORCE_INLINE constexpr MaskEntry mask_entry(std::int64_t input_dim, std::int64_t sketch_dim,
                                                                  std::uint64_t seed, std::int64_t c) {
  const std::int64_t start = mask_stratum(input_dim, sketch_dim, c);
  const std::int64_t length = mask_stratum(input_dim, sketch_dim, c + 1) - start;
  const PhiloxBlock bits = philox(static_cast<std::uint64_t>(c), 0, kStreamMask, seed);
  const std::uint64_t u = bits.word[0] | static_cast<std::uint64_t>(bits.word[1]) << 32;
  return {start + static_cast<std::int64_t>(multiply_high(u, static_cast<std::uint64_t>(length))), length};
}

}  // namespace fimo
