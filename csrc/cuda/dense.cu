// SPDX-License-Identifier: Apache-2.0
#include "cuda/routes.h"

namespace fimo::cuda {

void project_dense(Context&, const ConstMatrixView&, const Sketch&, std::int64_t, const MatrixView&) {
  throw std::runtime_error("not written yet");
}

}  // namespace fimo::cuda
