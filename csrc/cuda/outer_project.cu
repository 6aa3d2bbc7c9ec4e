// SPDX-License-Identifier: Apache-2.0
#include "cuda/entry.h"
#include "cuda/routes.h"

namespace fimo::cuda {

void outer_project(const ConstTensor3View&, const ConstTensor3View&, const OuterSketch&, const std::vector<Sketch>&,
                   std::optional<std::int64_t>, const MatrixView&, const Queue&) {
  throw std::runtime_error("not written yet");
}

std::int64_t outer_project_workspace(const ConstTensor3View&, const ConstTensor3View&, const OuterSketch&,
                                     const std::vector<Sketch>&, std::optional<std::int64_t>, const MatrixView&) {
  throw std::runtime_error("not written yet");
}

}  // namespace fimo::cuda
