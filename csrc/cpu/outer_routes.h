// SPDX-License-Identifier: Apache-2.0
/// \file
/// The ways to sketch an outer product that outer_project.cpp chooses from, after its checks. batch, tokens >= 1.
#pragma once

#include "fimo_fast/outer_project.h"

namespace fimo {

void project_factored(const ConstTensor3View& a, const ConstTensor3View& delta, const FactoredSketch& sketch,
                      const MatrixView& out, int num_threads);
void project_tensor(const ConstTensor3View& a, const ConstTensor3View& delta, const TensorSketch& sketch, const MatrixView& out,
                    int num_threads);

}  // namespace fimo
