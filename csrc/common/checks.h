// SPDX-License-Identifier: Apache-2.0
/// \file
/// What every device checks before an operation: sizes, types and sketches. All throw std::invalid_argument, whose message
/// begins with the argument's name.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "common/common.h"
#include "fimo_fast/outer_project.h"
#include "fimo_fast/score.h"
#include "fimo_fast/sketch.h"

namespace fimo {

/// The shape and type of a result for inputs of `dtype`.
void check_out(const MatrixView& out, std::int64_t rows, std::int64_t cols, DType dtype);

void check_project(const ConstMatrixView& grads, const Sketch& sketch, std::int64_t offset, const MatrixView& out);

void check_outer_project(const ConstTensor3View& a, const ConstTensor3View& delta, const OuterSketch& sketch,
                         const std::vector<Sketch>& then, std::optional<std::int64_t> offset, const MatrixView& out);

/// All but the numbers in `index`.
void check_rows_project(const ConstIndexView& index, const ConstTensor3View& delta, const Sketch& sketch, std::int64_t offset,
                        const MatrixView& out);

void check_outer_dot(const ConstTensor3View& a, const ConstTensor3View& delta, const ConstTensor3View& a2,
                     const ConstTensor3View& delta2, const MatrixView& out);

void check_outer_norm2(const ConstTensor3View& a, const ConstTensor3View& delta, const MatrixView& out);

/// What scores and topk take.
void check_score_inputs(const ConstMatrixView& queries, const ConstMatrixView& features, const RowScales& scales);

void check_topk(const ConstMatrixView& queries, const ConstMatrixView& features, std::int64_t k, const MatrixView& values,
                const RowScales& scales);

/// The number of outputs.
std::int64_t sketch_dim(const OuterSketch& sketch);

}  // namespace fimo
