// SPDX-License-Identifier: Apache-2.0
#include "cuda/entry.h"
#include "cuda/routes.h"

namespace fimo::cuda {

void rows_project(const ConstIndexView&, const ConstTensor3View&, const Sketch&, std::int64_t, const MatrixView&,
                  const Queue&) {
  throw std::runtime_error("not written yet");
}

std::int64_t rows_project_workspace(const ConstIndexView&, const ConstTensor3View&, const Sketch&, std::int64_t,
                                    const MatrixView&) {
  throw std::runtime_error("not written yet");
}

}  // namespace fimo::cuda
