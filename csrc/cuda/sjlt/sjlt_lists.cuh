// SPDX-License-Identifier: Apache-2.0
/// \file
/// Sorting the nonzeros of an SJLT by bucket in a block: counts of the buckets become starts of lists, and lists are brought
/// into the order of their places.
#pragma once

#include "cuda/device/entries.cuh"

namespace fimo::cuda {

constexpr int kSjltMeanList = 16;  // entries of a bucket
constexpr int kSjltBuckets = 16384;

/// starts[0 .. buckets], counts, become the numbers of entries before each bucket. All threads of the block; barriers before
/// and after are the caller's.
template <int Threads>
FIMO_DEVICE void exclusive_scan(std::uint32_t* starts, int buckets, std::uint32_t* warps) {
  const int each = (buckets + Threads - 1) / Threads, thread = static_cast<int>(threadIdx.x);
  const int begin = min(thread * each, buckets), end = min(begin + each, buckets);
  std::uint32_t sum = 0;
  for (int i = begin; i < end; ++i) sum += starts[i];
  std::uint32_t before = sum;
#pragma unroll
  for (int distance = 1; distance < kWarp; distance *= 2) {
    const std::uint32_t other = __shfl_up_sync(kAllLanes, before, static_cast<unsigned>(distance));
    if (thread % kWarp >= distance) before += other;
  }
  if (thread % kWarp == kWarp - 1) warps[thread / kWarp] = before;
  before -= sum;
  __syncthreads();
  for (int warp = 0; warp < thread / kWarp; ++warp) before += warps[warp];
  for (int i = begin; i < end; ++i) {
    const std::uint32_t count = starts[i];
    starts[i] = before;
    before += count;
  }
  if (thread == Threads - 1) starts[buckets] = before;
}

/// Brings a list into the order of places.
template <class Entry>
FIMO_DEVICE void sort_list(Entry* list, std::uint32_t count, Entry place) {
  for (std::uint32_t i = 1; i < count; ++i) {
    const Entry entry = list[i];
    std::uint32_t to = i;
    for (; to > 0 && (list[to - 1] & place) > (entry & place); --to) list[to] = list[to - 1];
    list[to] = entry;
  }
}

}  // namespace fimo::cuda
