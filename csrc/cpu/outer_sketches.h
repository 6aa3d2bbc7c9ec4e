// SPDX-License-Identifier: Apache-2.0
/// \file
/// The sketches of outer products that outer_project.cpp chooses from, after its checks, and how they cut a batch.
/// batch, tokens >= 1.
#pragma once

#include "cpu/workspace.h"
#include "fimo_fast/outer_project.h"
#include "fimo_fast/parallel.h"

namespace fimo {

constexpr std::int64_t kPartTokens = 256;  // summed at a time, as in the matrix product, whose sums start anew after as many

/// Calls body(examples, threads) for ranges of about `most` examples. Each thread takes ranges of its own (then `threads` is
/// 1), or all share one where there are too few.
template <class Body>
void for_groups(std::int64_t batch, std::int64_t most, int num_threads, const Body& body) {
  const std::int64_t fewest = ceil_div(batch, most);
  const bool shared = fewest < num_threads;
  const std::int64_t groups = shared ? fewest : smaller(batch, round_up(fewest, num_threads));
  parallel_for(groups, shared ? 1 : num_threads,
               [&](std::int64_t group) { body(part_of(batch, groups, group, 1), shared ? num_threads : 1); });
}

void project_factored(const ConstTensor3View& a, const ConstTensor3View& delta, const FactoredSketch& sketch,
                      const MatrixView& out, int num_threads);
void project_tensor(const ConstTensor3View& a, const ConstTensor3View& delta, const TensorSketch& sketch, const MatrixView& out,
                    int num_threads);

}  // namespace fimo
