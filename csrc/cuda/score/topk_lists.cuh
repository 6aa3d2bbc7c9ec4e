// SPDX-License-Identifier: Apache-2.0
/// \file
/// The candidates of topk: an unordered list of keys a query, in the workspace.
///
/// A key is 64 bits whose unsigned order is the order of topk: NaN, then value, then smaller index. Keys of a query differ, so
/// the k largest of them and their order are the same whatever the order in which they were found.
#pragma once

#include "cuda/device/gpu.cuh"

namespace fimo::cuda {

using TopkKey = std::uint64_t;  // zero ranks below every score

/// The value's rank, then the feature reversed; feature < 2^32. Both zeros have the rank of the positive one.
FIMO_DEVICE TopkKey topk_key(float value, std::int64_t feature) {
  const std::uint32_t bits = __float_as_uint(value + 0.0f);
  std::uint32_t rank = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  if (value != value) rank = 0xFFFFFFFFu;
  return static_cast<TopkKey>(rank) << 32 | ~static_cast<std::uint32_t>(feature);
}

FIMO_DEVICE std::int64_t topk_feature(TopkKey key) { return ~static_cast<std::uint32_t>(key); }

FIMO_DEVICE float topk_value(TopkKey key) {
  const std::uint32_t rank = static_cast<std::uint32_t>(key >> 32);
  return __uint_as_float(rank & 0x80000000u ? rank & 0x7FFFFFFFu : ~rank);
}

/// Lists of the queries of one group. The first k keys of a list are its k best as of the last selection, in order.
struct TopkLists {
  TopkKey* keys;  // [queries, capacity]
  std::int64_t capacity;
  std::int32_t* counts;  // [queries]
  float* thresholds;     // [queries]: the value of key k - 1
  std::int64_t k;
};

/// Ends a selection by `threads` threads, of which this is number `thread`: `best(i)` is the query's i-th best key. With
/// `values` the results are written, else they become the list.
template <class Best>
FIMO_DEVICE void write_best(const TopkLists& lists, std::int64_t query, int thread, int threads, float* values,
                            std::int64_t values_stride, std::int64_t* indices, Best best) {
  const int k = static_cast<int>(lists.k);
  for (int i = thread; i < k; i += threads) {
    const TopkKey key = best(i);
    if (values) {
      values[query * values_stride + i] = topk_value(key);
      indices[query * k + i] = topk_feature(key);
    } else {
      lists.keys[query * lists.capacity + i] = key;
    }
  }
  if (!values && thread == 0) {
    lists.counts[query] = k;
    lists.thresholds[query] = topk_value(best(k - 1));
  }
}

/// What becomes of the scores of a round. The first one keeps all: the lists are empty, and the place of a key is its feature.
/// Later ones keep what may be among the k best: nearly always one comparison a score.
struct TopkRound {
  TopkLists lists;
  std::int64_t first;  // feature of the round; the first round's is 0

  FIMO_DEVICE bool keeps_all() const { return first == 0; }

  /// `feature` counts from the first one of the round.
  FIMO_DEVICE void put(std::int64_t query, std::int64_t feature, float score) const {
    lists.keys[query * lists.capacity + feature] = topk_key(score, feature);
  }

  /// In later rounds; scores that are <= `threshold`, the query's, need not come here.
  FIMO_DEVICE void keep(std::int64_t query, std::int64_t feature, float score, float threshold) const {
    TopkKey* list = lists.keys + query * lists.capacity;
    const TopkKey key = topk_key(score, first + feature);
    // Above the threshold is enough, except for NaN.
    if (score > threshold || key > list[lists.k - 1]) list[atomicAdd(lists.counts + query, 1)] = key;
  }
};

}  // namespace fimo::cuda
