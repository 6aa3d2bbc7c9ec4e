// SPDX-License-Identifier: Apache-2.0
/// \file
/// The k best keys of a query's list, for small k and many queries: a warp owns a query.
///
/// As topk_select.cuh, but the buffer has 256 keys, and a sort keeps eight a lane in registers: steps of up to four are within
/// a lane, and only longer ones, 15 of the 36 of 256 keys, are shuffles. A block's sort in shared memory takes ten times its
/// clocks of shared memory, and a barrier for each step.
///
/// Floor: 8 bytes a candidate read once. 256 keys take 240 shuffles and about 2500 instructions, 2 us of a warp alone; there
/// are two or three sorts in the first round (of 4096 keys in random order, k = 20) and one in a later one.
#pragma once

#include "cuda/score/topk_lists.cuh"

namespace fimo::cuda {

constexpr int kWarpTopk = 64;  // the largest k: beyond it a buffer of 256 is sorted too often
constexpr int kWarpSelectThreads = 128;
constexpr int kWarpLoads = 4;  // a lane, under way at the same time
constexpr int kWarpBatch = kWarp * kWarpLoads;
constexpr int kLaneKeys = 8;
constexpr int kWarpCapacity = kWarp * kLaneKeys;
static_assert(kWarpTopk + kWarpBatch <= kWarpCapacity, "a batch fits beside the best");

/// Where key i of a buffer lies: a lane's keys are next to each other, and lanes meet in no bank.
FIMO_DEVICE int warp_place(int i) { return i + i / kLaneKeys; }
constexpr int kWarpPlaces = kWarpCapacity + kWarpCapacity / kLaneKeys;

struct WarpSelectShared {
  TopkKey keys[kWarpSelectThreads / kWarp][kWarpPlaces];
};

/// One step within a lane: pairs `Step` apart. Runs of `Run` keys are descending and ascending in turn; of 8 and more as
/// `descending` says.
template <int Run, int Step>
FIMO_DEVICE void lane_step(TopkKey (&keys)[kLaneKeys], bool descending) {
#pragma unroll
  for (int i = 0; i < kLaneKeys; ++i) {
    if (i & Step) continue;
    const TopkKey a = keys[i], b = keys[i + Step];
    const bool swap = (a < b) == (Run < kLaneKeys ? (i & Run) == 0 : descending);
    keys[i] = swap ? b : a;
    keys[i + Step] = swap ? a : b;
  }
}

/// Sorts (bitonic, descending) the keys of the first lanes, `size` in all: a power of two from 8 on. Key 8 lane + i is keys[i].
FIMO_DEVICE void sort_lanes(TopkKey (&keys)[kLaneKeys], int size) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  lane_step<2, 1>(keys, false);
  lane_step<4, 2>(keys, false);
  lane_step<4, 1>(keys, false);
  const auto within = [&](bool descending) {
    lane_step<8, 4>(keys, descending);
    lane_step<8, 2>(keys, descending);
    lane_step<8, 1>(keys, descending);
  };
  within(lane % 2 == 0);
#pragma unroll 1
  for (int lanes = 2; lanes * kLaneKeys <= size; lanes *= 2) {
    const bool descending = (lane & lanes) == 0;
#pragma unroll 1
    for (int apart = lanes / 2; apart > 0; apart /= 2) {
      const bool largest = ((lane & apart) == 0) == descending;
#pragma unroll
      for (int i = 0; i < kLaneKeys; ++i) {
        const TopkKey other = __shfl_xor_sync(kAllLanes, keys[i], apart);
        if ((other > keys[i]) == largest) keys[i] = other;
      }
    }
    within(descending);
  }
}

/// Sorts the first `count` keys of a buffer; of the result only the first k are left there.
FIMO_DEVICE void sort_buffer(TopkKey* buffer, int count, int k) {
  const int first = static_cast<int>(threadIdx.x) % kWarp * kLaneKeys;
  int size = kLaneKeys;
  while (size < count) size *= 2;
  __syncwarp();
  TopkKey keys[kLaneKeys];
#pragma unroll
  for (int i = 0; i < kLaneKeys; ++i) keys[i] = first + i < count ? buffer[warp_place(first + i)] : 0;
  sort_lanes(keys, size);
  __syncwarp();
#pragma unroll
  for (int i = 0; i < kLaneKeys; ++i) {
    if (first + i < k) buffer[warp_place(first + i)] = keys[i];
  }
  __syncwarp();
}

/// As topk_select_kernel, for k <= kWarpTopk and `queries` lists.
__global__ void __launch_bounds__(kWarpSelectThreads)
    topk_select_warp_kernel(TopkLists lists, std::int64_t queries, std::int64_t count, std::int64_t lazy, float* values,
                            std::int64_t values_stride, std::int64_t* indices) {
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  const int k = static_cast<int>(lists.k);
  TopkKey* buffer = shared<WarpSelectShared>().keys[warp];
  const std::int64_t query = static_cast<std::int64_t>(blockIdx.x) * (kWarpSelectThreads / kWarp) + warp;
  if (query >= queries) return;
  TopkKey* list = lists.keys + query * lists.capacity;
  if (count < 0) count = lists.counts[query];
  if (count <= lazy) return;

  TopkKey floor = 0;  // the k-th best
  int kept = 0;
  TopkKey next[kWarpLoads];
  const auto load_before = [&](std::int64_t end) {
#pragma unroll
    for (int load = 0; load < kWarpLoads; ++load) {
      const std::int64_t i = end - 1 - load * kWarp - lane;
      next[load] = i >= 0 ? list[i] : 0;
    }
  };
  load_before(count);
  for (std::int64_t end = count; end > 0; end -= kWarpBatch) {
    TopkKey keys[kWarpLoads];
#pragma unroll
    for (int load = 0; load < kWarpLoads; ++load) keys[load] = next[load];
    load_before(end - kWarpBatch);  // under way while these are compared
#pragma unroll
    for (int load = 0; load < kWarpLoads; ++load) {
      const bool keep = keys[load] > floor;
      const unsigned kept_by = __ballot_sync(kAllLanes, keep);
      if (keep) buffer[warp_place(kept + __popc(kept_by & ((1u << lane) - 1)))] = keys[load];
      kept += __popc(kept_by);
    }
    if (kept <= kWarpCapacity - kWarpBatch) continue;
    sort_buffer(buffer, kept, k);
    floor = buffer[warp_place(k - 1)];
    kept = k;
  }
  sort_buffer(buffer, kept, k);

  write_best(lists, query, lane, kWarp, values, values_stride, indices, [&](int i) { return buffer[warp_place(i)]; });
}

}  // namespace fimo::cuda
