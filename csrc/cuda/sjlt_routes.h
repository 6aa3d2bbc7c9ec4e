// SPDX-License-Identifier: Apache-2.0
/// \file
/// What sjlt.cu and rows_project.cu share.
#pragma once

#include "cuda/routes.h"
#include "cuda/sjlt_wide.cuh"

namespace fimo::cuda {

inline SjltBlocks sjlt_blocks(const Sketch& sketch) {
  return {static_cast<std::uint32_t>(sketch.nonzeros), static_cast<std::uint32_t>(sketch.sketch_dim / sketch.nonzeros),
          static_cast<std::uint32_t>(sketch.sketch_dim % sketch.nonzeros)};
}

/// Coordinates of a chunk at most.
inline std::int64_t sjlt_chunk(const Sketch& sketch) {
  const std::int64_t most = smaller(kSjltPositions, smaller(kSjltEntries, kSjltMeanList * sketch.sketch_dim) / sketch.nonzeros);
  return most >= 32 ? most / 32 * 32 : larger(most, 1);
}

/// Nonzeros up to which chunks are sorted in shared memory.
constexpr std::int64_t kSjltNonzeros = 2048;

inline bool sjlt_is_wide(const Sketch& sketch) { return sketch.sketch_dim > kSjltBuckets || sketch.nonzeros > kSjltNonzeros; }

/// As project_sjlt, for places (first and count: all of them) of grads, by sjlt_wide.cuh. Takes 5 MB of workspace.
struct SjltWideWorkspace {
  std::uint32_t *starts, *entries;
  explicit SjltWideWorkspace(Context& context)
      : starts(context.take<std::uint32_t>(kSjltWideRange + 1)), entries(context.take<std::uint32_t>(kSjltWideEntries)) {}
};
void add_sjlt_wide(Context& context, const SjltWideWorkspace& workspace, const ConstMatrixView& grads, SjltPlaces places,
                   const Sketch& sketch, const MatrixView& out);

}  // namespace fimo::cuda
