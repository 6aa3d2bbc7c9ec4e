// SPDX-License-Identifier: Apache-2.0
/// \file
/// The k largest inner products of each query with a block of features, without the [queries, features] matrix.
#pragma once

#include <cstdint>

#include "fimo_fast/tensor_view.h"

namespace fimo {

/// For each query m, the k largest <queries[m], features[n]> in descending order. NaN ranks above everything (as in
/// torch.topk); equal values are ordered by smaller index.
///
/// queries: [M, d], features: [N, d], of one DType, 1 <= k <= N.
/// values: [M, k] of accumulator_dtype; indices: [M, k], contiguous, of int64. Both are overwritten.
/// Throws std::invalid_argument when sizes or types disagree.
void topk(const ConstMatrixView& queries, const ConstMatrixView& features, std::int64_t k, const MatrixView& values,
          std::int64_t* indices, int num_threads);

}  // namespace fimo
