// SPDX-License-Identifier: Apache-2.0
/// \file
/// Inner products of queries with features: all of them, or the k largest of each query without the [queries, features] matrix.
///
/// Rows are float32, float64, bfloat16 or float16, or int8 with one scale a row: the row is then scale * int8. Scales are given
/// for int8, on both sides, and for no other type.
#pragma once

#include <cstdint>

#include "fimo_fast/tensor_view.h"

namespace fimo {

struct RowScales {
  const float* queries = nullptr;   // [M]
  const float* features = nullptr;  // [N]
};

/// out[m, n] = <queries[m], features[n]>.
///
/// queries: [M, d], features: [N, d], of one DType. out: [M, N] of accumulator_dtype; overwritten; not overlapping the inputs.
/// Throws std::invalid_argument when sizes, types or scales disagree.
void scores(const ConstMatrixView& queries, const ConstMatrixView& features, const MatrixView& out, int num_threads,
            const RowScales& scales = {});

/// For each query m, the k largest <queries[m], features[n]> in descending order. NaN ranks above everything (as in
/// torch.topk); equal values are ordered by smaller index. The values are entries of `scores`, bit by bit.
///
/// queries: [M, d], features: [N, d], of one DType, 1 <= k <= N.
/// values: [M, k] of accumulator_dtype; indices: [M, k], contiguous, of int64. Both are overwritten.
/// Throws std::invalid_argument when sizes, types or scales disagree.
void topk(const ConstMatrixView& queries, const ConstMatrixView& features, std::int64_t k, const MatrixView& values,
          std::int64_t* indices, int num_threads, const RowScales& scales = {});

}  // namespace fimo
