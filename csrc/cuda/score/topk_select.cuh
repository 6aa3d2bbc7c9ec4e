// SPDX-License-Identifier: Apache-2.0
/// \file
/// The k best keys of a query's list, in order.
///
/// A block owns a query. It reads the list once, keeps what ranks above the k-th best so far in a buffer, and sorts the buffer
/// (bitonic, in shared memory) after the first keys and whenever it could overflow: with keys in random order it sorts 512
/// keys, then the few above their k-th. It reads from the end, so that ascending scores, of which every one is a candidate,
/// come in descending order: all but the first few are passed over.
///
/// Floor: 8 bytes a candidate read once; they are few beside the features (topk.cuh). Per sort of n keys and a thread of 256:
/// log2(n) (log2(n) + 1) / 2 steps of n / 512 pairs, 15 instructions each, one after the other: 45 steps for 512 keys take
/// about 3 us. 2048 keys fit 8 blocks an SM.
#pragma once

#include "cuda/score/topk_lists.cuh"

namespace fimo::cuda {

constexpr int kSelectThreads = 256;
constexpr int kSelectLoads = 4;  // a thread, under way at the same time
constexpr int kSelectBatch = kSelectThreads * kSelectLoads;
constexpr int kSelectFirst = 512;

template <int Capacity>
struct SelectShared {
  TopkKey keys[Capacity];
  int count;
};

/// One step of the sort: pairs `step` apart, in runs of `run`. All loads are under way before the first store.
template <int Pairs>
FIMO_DEVICE void sort_step(TopkKey* keys, int size, int run, int step) {
  const int thread = static_cast<int>(threadIdx.x);
#pragma unroll 1
  for (int first = thread; first < size / 2; first += Pairs * kSelectThreads) {
    TopkKey a[Pairs], b[Pairs];
#pragma unroll
    for (int n = 0; n < Pairs; ++n) {
      const int pair = first + n * kSelectThreads, i = 2 * pair - (pair & (step - 1));
      if (pair < size / 2) a[n] = keys[i], b[n] = keys[i + step];
    }
#pragma unroll
    for (int n = 0; n < Pairs; ++n) {
      const int pair = first + n * kSelectThreads, i = 2 * pair - (pair & (step - 1));
      const bool ascending = (i & run) != 0;
      if (pair < size / 2 && (a[n] < b[n]) != ascending) keys[i] = b[n], keys[i + step] = a[n];
    }
  }
}

/// Sorts keys[0, count) in descending order; what follows them up to a power of two becomes zero. Ends with a barrier. The
/// pairs of a warp in a step of at most 32 are 64 keys in a row, which no other warp touches: such steps need no barrier of the
/// block.
FIMO_DEVICE void sort_keys(TopkKey* keys, int count) {
  const int thread = static_cast<int>(threadIdx.x);
  int size = 1;
  while (size < count) size *= 2;
  for (int i = count + thread; i < size; i += kSelectThreads) keys[i] = 0;
  __syncthreads();
  for (int run = 2; run <= size; run *= 2) {
    for (int step = run / 2; step > 0; step /= 2) {
      if (size <= 2 * kSelectThreads) {
        sort_step<1>(keys, size, run, step);
      } else {
        sort_step<4>(keys, size, run, step);
      }
      const int next = step > 1 ? step / 2 : run;
      if (step > kWarp || next > kWarp) {
        __syncthreads();
      } else {
        __syncwarp();
      }
    }
  }
  __syncthreads();
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
  int kept = 0, batch = 0;
  for (std::int64_t end = count; end > 0; end -= batch) {
    // The first keys are sorted alone: most of the others then rank below their k-th.
    const bool first = floor == 0 && 2 * k <= kSelectFirst;
    batch = first ? kSelectFirst : kSelectBatch;
    TopkKey keys[kSelectLoads];
#pragma unroll
    for (int load = 0; load < kSelectLoads; ++load) {
      const std::int64_t i = end - 1 - load * kSelectThreads - thread;
      keys[load] = load * kSelectThreads < batch && i >= 0 ? list[i] : 0;
    }
#pragma unroll
    for (int load = 0; load < kSelectLoads; ++load) {
      if (keys[load] > floor) s.keys[atomicAdd(&s.count, 1)] = keys[load];
    }
    __syncthreads();
    kept = s.count;
    __syncthreads();  // before the next batch, or the next line, changes it
    if (first ? end <= batch : kept <= Capacity - kSelectBatch) continue;
    sort_keys(s.keys, kept);
    floor = s.keys[k - 1];
    kept = k;
    if (thread == 0) s.count = k;
    __syncthreads();
  }
  sort_keys(s.keys, kept);

  write_best(lists, query, thread, kSelectThreads, values, values_stride, indices, [&](int i) { return s.keys[i]; });
}

}  // namespace fimo::cuda
