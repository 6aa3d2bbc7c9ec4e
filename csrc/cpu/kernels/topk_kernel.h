// SPDX-License-Identifier: Apache-2.0
/// \file
/// Selection for topk: a tile of scores against the worst value of each query's list.
///
/// Once the lists are full almost every score is rejected, so the work is one vector comparison per register of scores; the few
/// that pass replace the root of a binary heap whose root is the worst entry. Features come in increasing order, so a score
/// equal to the worst one has a larger index and is rejected: ties keep the smaller index without comparing indices.
#pragma once

#include <cstdint>

namespace fimo {

/// Running lists of the best k scores of each query; list q is [k] at q * k.
struct TopkTask {
  const void* scores;  // [features, score_stride], a feature's scores of all queries side by side
  std::int64_t score_stride;
  std::int64_t queries;  // padding up to score_stride is readable
  std::int64_t features;
  std::int64_t first_index;  // feature number of row 0
  std::int64_t k;
  std::int64_t filled;    // entries of each list before this call; a heap, worst entry first, once equal to k
  void* values;           // [queries, k]
  std::int64_t* indices;  // [queries, k]
  void* thresholds;       // [score_stride], the worst value of each full list
};

}  // namespace fimo

#if defined(FIMO_ISA)
namespace fimo::FIMO_ISA {
namespace {

/// True where entry a ranks below entry b: NaN above all, then by value, then by smaller index.
template <class T>
FIMO_FORCE_INLINE bool ranks_below(T a, std::int64_t index_a, T b, std::int64_t index_b) {
  const bool nan_a = a != a, nan_b = b != b;
  if (nan_a != nan_b) return nan_b;
  if (!nan_a && a != b) return a < b;
  return index_a > index_b;
}

/// Restores the heap (parent ranks below its children) after its element `at` was raised.
template <class T>
void sift_down(T* values, std::int64_t* indices, std::int64_t size, std::int64_t at) {
  const T value = values[at];
  const std::int64_t index = indices[at];
  for (std::int64_t child = 2 * at + 1; child < size; child = 2 * at + 1) {
    if (child + 1 < size && ranks_below(values[child + 1], indices[child + 1], values[child], indices[child])) ++child;
    if (!ranks_below(values[child], indices[child], value, index)) break;
    values[at] = values[child];
    indices[at] = indices[child];
    at = child;
  }
  values[at] = value;
  indices[at] = index;
}

template <class T>
void topk(const TopkTask& task) {
  using S = Simd<T>;
  T* values = static_cast<T*>(task.values);
  T* thresholds = static_cast<T*>(task.thresholds);
  const T* scores = static_cast<const T*>(task.scores);
  std::int64_t feature = 0;
  for (; feature < task.features && task.filled + feature < task.k; ++feature) {
    const std::int64_t at = task.filled + feature;
    for (std::int64_t q = 0; q < task.queries; ++q) {
      values[q * task.k + at] = scores[feature * task.score_stride + q];
      task.indices[q * task.k + at] = task.first_index + feature;
    }
  }
  if (feature > 0 && task.filled + feature == task.k) {
    for (std::int64_t q = 0; q < task.queries; ++q) {
      for (std::int64_t at = task.k / 2; at-- > 0;) sift_down(values + q * task.k, task.indices + q * task.k, task.k, at);
      thresholds[q] = values[q * task.k];
    }
  }
  for (; feature < task.features; ++feature) {
    const T* row = scores + feature * task.score_stride;
    for (std::int64_t q = 0; q < task.queries; q += S::kLanes) {
      std::uint32_t passed = S::not_le(S::load(row + q), S::load(thresholds + q));
      for (; passed; passed &= passed - 1) {
        const std::int64_t query = q + __builtin_ctz(passed);
        if (query >= task.queries) break;  // padding
        const T score = row[query];
        if (thresholds[query] != thresholds[query]) continue;  // a list of NaN only, all earlier
        T* list = values + query * task.k;
        std::int64_t* list_indices = task.indices + query * task.k;
        list[0] = score;
        list_indices[0] = task.first_index + feature;
        sift_down(list, list_indices, task.k, 0);
        thresholds[query] = list[0];
      }
    }
  }
}

}  // namespace
}  // namespace fimo::FIMO_ISA
#endif
