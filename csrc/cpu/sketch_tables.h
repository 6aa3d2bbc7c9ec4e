// SPDX-License-Identifier: Apache-2.0
/// \file
/// What the drivers that apply sketches of vectors share: the blocks of an SJLT. An SRHT's are in srht_rows.h.
#pragma once

#include <cstdint>
#include <vector>

#include "common/sketch_sizes.h"
#include "cpu/workspace.h"
#include "fimo_fast/sketch.h"

namespace fimo {

/// The block of outputs of each nonzero of an SJLT, repeated for the coordinates whose nonzeros are generated in one go.
struct SjltBlocks {
  std::int64_t period;  // coordinates
  std::vector<std::uint32_t> lengths, starts;

  explicit SjltBlocks(const Sketch& sketch)
      : period(larger(1, kGeneratedAtOnce / sketch.nonzeros)),
        lengths(static_cast<std::size_t>(period * sketch.nonzeros)),
        starts(lengths.size()) {
    const std::int64_t s = sketch.nonzeros, k = sketch.sketch_dim;
    for (std::int64_t i = 0; i < period * s; ++i) {
      const std::int64_t r = i % s, start = r * k / s;
      starts[static_cast<std::size_t>(i)] = static_cast<std::uint32_t>(start);
      lengths[static_cast<std::size_t>(i)] = static_cast<std::uint32_t>((r + 1) * k / s - start);
    }
  }

  /// Words of the workspace in which nonzeros are generated.
  std::int64_t words() const { return static_cast<std::int64_t>(lengths.size()) + 8; }

 private:
  static constexpr std::int64_t kGeneratedAtOnce = 1024;  // nonzeros
};

}  // namespace fimo
