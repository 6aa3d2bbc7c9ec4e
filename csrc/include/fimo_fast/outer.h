// SPDX-License-Identifier: Apache-2.0
/// \file
/// Inner products of per-example gradients of linear layers, G_b = sum_t delta[b,t] a[b,t]^T, from their factors.
///
/// <G_b, G'_c> = sum_{t,s} <a[b,t], a'[c,s]> <delta[b,t], delta'[c,s]>: with short sequences it is far cheaper to work with the
/// Gram matrices of the factors than with the n*m entries of each G. A cost model picks the cheaper way; the rule is in
/// outer_dot_forms_gradients.
#pragma once

#include <cstdint>

#include "fimo_fast/tensor_view.h"

namespace fimo {

/// out[b, c] = <G_b, G'_c>.
///
/// a: [B, T, n], delta: [B, T, m], a2: [B2, T2, n], delta2: [B2, T2, m], all of one DType.
/// out: [B, B2] of accumulator_dtype; overwritten; not overlapping the inputs.
/// Throws std::invalid_argument when sizes or types disagree.
void outer_dot(const ConstTensor3View& a, const ConstTensor3View& delta, const ConstTensor3View& a2,
               const ConstTensor3View& delta2, const MatrixView& out, int num_threads);

/// out[b] = ||G_b||^2, as a [B, 1] matrix. Rounding below zero is returned as zero; NaN stays NaN.
///
/// a: [B, T, n], delta: [B, T, m], of one DType.
void outer_norm2(const ConstTensor3View& a, const ConstTensor3View& delta, const MatrixView& out, int num_threads);

/// True where outer_dot forms the gradients G (a bounded number of rows of them at a time) instead of Gram matrices.
bool outer_dot_forms_gradients(std::int64_t batch, std::int64_t tokens, std::int64_t batch2, std::int64_t tokens2,
                               std::int64_t n, std::int64_t m);

}  // namespace fimo
