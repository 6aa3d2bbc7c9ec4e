// SPDX-License-Identifier: Apache-2.0
#include "cuda/entry.h"
#include "cuda/routes.h"

namespace fimo::cuda {

void inner_products(Context&, const ConstMatrixView&, const ConstMatrixView&, const RowScales&, bool, const MatrixView&) {
  throw std::runtime_error("not written yet");
}

void scores(const ConstMatrixView&, const ConstMatrixView&, const MatrixView&, const Queue&, const RowScales&) {
  throw std::runtime_error("not written yet");
}

std::int64_t scores_workspace(const ConstMatrixView&, const ConstMatrixView&, const MatrixView&, const RowScales&) {
  throw std::runtime_error("not written yet");
}

}  // namespace fimo::cuda
