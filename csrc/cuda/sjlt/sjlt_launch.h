// SPDX-License-Identifier: Apache-2.0
/// \file
/// What other rooms call of SJLT.
#pragma once

#include "cuda/device/launch.h"
#include "cuda/sjlt/sjlt_lists.cuh"

namespace fimo::cuda {

inline SjltBlocks sjlt_blocks(const Sketch& sketch) {
  return {static_cast<std::uint32_t>(sketch.nonzeros), static_cast<std::uint32_t>(sketch.sketch_dim / sketch.nonzeros),
          static_cast<std::uint32_t>(sketch.sketch_dim % sketch.nonzeros)};
}

/// Nonzeros up to which chunks are sorted in shared memory.
constexpr std::int64_t kSjltNonzeros = 2048;

inline bool sjlt_is_wide(const Sketch& sketch) { return sketch.sketch_dim > kSjltBuckets || sketch.nonzeros > kSjltNonzeros; }

constexpr int kSjltWideRange = 1 << 16;    // outputs
constexpr int kSjltWideEntries = 1 << 20;  // of a segment

/// Where the elements of a segment lie and what their coordinates are.
struct SjltPlaces {
  const std::int64_t* index;  // null: coordinate offset + p, element p
  std::uint64_t offset;
  std::int64_t dim, token_stride, limit;  // index < limit
  std::int64_t first, count;              // places of the segment

  FIMO_HOST_DEVICE std::uint64_t coordinate(std::int64_t p) const {
    if (!index) return offset + static_cast<std::uint64_t>(p);
    return offset + static_cast<std::uint64_t>(index[p / dim] * dim + p % dim);
  }
  FIMO_HOST_DEVICE bool inside(std::int64_t p) const { return !index || (index[p / dim] >= 0 && index[p / dim] < limit); }
  FIMO_HOST_DEVICE std::int64_t element(std::int64_t p) const { return index ? p / dim * token_stride + p % dim : p; }
};

/// As project_sjlt, for places (first and count: all of them) of grads, by sjlt_wide.cuh. Takes 5 MB of workspace.
struct SjltWideWorkspace {
  std::uint32_t *starts, *entries;
  explicit SjltWideWorkspace(Context& context)
      : starts(context.take<std::uint32_t>(kSjltWideRange + 1)), entries(context.take<std::uint32_t>(kSjltWideEntries)) {}
};
void add_sjlt_wide(Context& context, const SjltWideWorkspace& workspace, const ConstMatrixView& grads, SjltPlaces places,
                   const Sketch& sketch, const MatrixView& out);

/// An SJLT of sums of outer products of a few tokens, not formed: float32 without gaps.
bool sjlt_takes_products(const Sketch& sketch, std::int64_t tokens);
void project_sjlt_products(Context& context, const ConstTensor3View& a, const ConstTensor3View& delta, const Sketch& sketch,
                           const MatrixView& out);

}  // namespace fimo::cuda
