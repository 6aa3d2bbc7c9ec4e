// SPDX-License-Identifier: Apache-2.0
/// \file
/// Sketches of per-example gradients of embeddings, from the rows that the tokens have looked up.
///
/// G_b = sum_t e_{index[b,t]} delta[b,t]^T is [V, d], one row for each word of a vocabulary, and zero but for the rows of the
/// example's own tokens: these are summed and sketched, the others never touched.
#pragma once

#include <cstdint>

#include "fimo_fast/sketch.h"
#include "fimo_fast/tensor_view.h"

namespace fimo {

/// Adds S[:, offset : offset + V d] vec(G_b) to the rows of out, vec(G) being G flattened row by row.
///
/// index:  [B, T], each at least 0 and such that its row ends within the sketch's input: offset + (index + 1) d <= input_dim.
/// delta:  [B, T, d] of any DType but int8. Tokens whose delta is zero cost next to nothing.
/// out:    [B, sketch_dim] of accumulator_dtype; not overlapping the inputs.
/// The bits are those of `project` of G in one piece, up to the sign of a zero: they depend on the example alone. Beside what a
/// sketch of one vector needs, the workspace of a thread is one row, or a block of an SRHT. Throws std::invalid_argument when
/// sizes, types or an index disagree, before anything is written.
void rows_project(const ConstIndexView& index, const ConstTensor3View& delta, const Sketch& sketch, std::int64_t offset,
                  const MatrixView& out, int num_threads);

}  // namespace fimo
