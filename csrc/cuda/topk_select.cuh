// SPDX-License-Identifier: Apache-2.0
/// \file
/// The k best keys of a query's list, in order.
///
/// A block owns a query. It reads the list once, keeps what ranks above the k-th best so far in a buffer, and sorts the buffer
/// (bitonic, in shared memory) whenever it could overflow: with keys in random order once or twice. It reads from the end, so
/// that ascending scores, of which every one is a candidate, come in descending order: all but the first few are passed over.
///
/// Floor: 8 bytes a candidate read once; they are few beside the features (topk.cuh). Per sort of n keys and a thread of 256:
/// log2(n) (log2(n) + 1) / 2 steps of n / 512 pairs, 15 instructions each. 2048 keys fit 8 blocks an SM.
#pragma once

#include "cuda/topk_lists.cuh"

namespace fimo::cuda {

constexpr int kSelectThreads = 256;
constexpr int kSelectLoads = 4;  // a thread, under way at the same time
constexpr int kSelectBatch = kSelectThreads * kSelectLoads;

template <int Capacity>
struct SelectShared {
  TopkKey keys[Capacity];
  int count;
};

/// Sorts keys[0, count) in descending order; what follows them up to a power of two becomes zero. Ends with a barrier.
FIMO_DEVICE void sort_keys(TopkKey* keys, int count) {
  const int thread = static_cast<int>(threadIdx.x);
  int size = 1;
  while (size < count) size *= 2;
  for (int i = count + thread; i < size; i += kSelectThreads) keys[i] = 0;
  __syncthreads();
  for (int run = 2; run <= size; run *= 2) {
    for (int step = run / 2; step > 0; step /= 2) {
      for (int pair = thread; pair < size / 2; pair += kSelectThreads) {
        const int i = 2 * pair - (pair & (step - 1));
        const TopkKey a = keys[i], b = keys[i + step];
        const bool ascending = (i & run) != 0;
        if ((a < b) != ascending) {
          keys[i] = b;
          keys[i + step] = a;
        }
      }
      __syncthreads();
    }
  }
}

/// Of the first `count` keys of a list (counts[query] if negative). A list of at most `lazy` keys is left as it is: its
/// threshold stays right, only lower than it could be. With `values` the results are written, else the list becomes its k best.
template <int Capacity>
__global__ void __launch_bounds__(kSelectThreads)
    topk_select_kernel(TopkLists lists, std::int64_t count, std::int64_t lazy, float* values, std::int64_t values_stride,
                       std::int64_t* indices) {
  auto& s = shared<SelectShared<Capacity>>();
  const std::int64_t query = blockIdx.x;
  const int thread = static_cast<int>(threadIdx.x), k = static_cast<int>(lists.k);
  TopkKey* list = lists.keys + query * lists.capacity;
  if (count < 0) count = lists.counts[query];
  if (count <= lazy) return;

  if (thread == 0) s.count = 0;
  __syncthreads();
  TopkKey floor = 0;  // the k-th best
  int kept = 0;
  for (std::int64_t end = count; end > 0; end -= kSelectBatch) {
    TopkKey keys[kSelectLoads];
#pragma unroll
    for (int load = 0; load < kSelectLoads; ++load) {
      const std::int64_t i = end - 1 - load * kSelectThreads - thread;
      keys[load] = i >= 0 ? list[i] : 0;
    }
#pragma unroll
    for (int load = 0; load < kSelectLoads; ++load) {
      if (keys[load] > floor) s.keys[atomicAdd(&s.count, 1)] = keys[load];
    }
    __syncthreads();
    kept = s.count;
    __syncthreads();  // before the next batch, or the next line, changes it
    if (kept <= Capacity - kSelectBatch) continue;
    sort_keys(s.keys, kept);
    floor = s.keys[k - 1];
    if (thread == 0) s.count = k;
    __syncthreads();
  }
  sort_keys(s.keys, kept);

  for (int i = thread; i < k; i += kSelectThreads) {
    const TopkKey key = s.keys[i];
    if (values) {
      values[query * values_stride + i] = topk_value(key);
      indices[query * k + i] = topk_feature(key);
    } else {
      list[i] = key;
    }
  }
  if (!values && thread == 0) {
    lists.counts[query] = k;
    lists.thresholds[query] = topk_value(s.keys[k - 1]);
  }
}

}  // namespace fimo::cuda
