// SPDX-License-Identifier: Apache-2.0
/// \file
/// The rows of the transform that an SRHT keeps where sketch_dim is not a power of two: a partial Fisher-Yates shuffle, in
/// parallel, and without tables from the host.
///
/// Step i of the shuffle exchanges entry i with entry p(i) >= i and keeps what came. What was at position q before step i is
/// what position j held before step j, for the last j < i with p(j) = q; or q itself if there is none. So every step follows
/// such links back by itself. The steps with one p are a linked list, whose order depends on the run, but the walk takes the
/// largest j below i, and the bits of kept rows and the counts are integers: the result does not depend on the order.
///
/// Cost: of L = 4096 a few microseconds once a call, whatever the batch.
#pragma once

#include "common/mask.h"  // multiply_high
#include "cuda/device/gpu.cuh"
#include "fimo_fast/random.h"

namespace fimo::cuda {

constexpr int kRowsThreads = 256;
constexpr int kRowsChunk = 1024;  // words whose rows before are counted together

struct SrhtShuffle {
  std::int64_t block;
  std::int64_t steps;  // sketch_dim
  std::uint64_t seed;
  std::int32_t* head;    // [block], the step met last with this p; -1: none
  std::int32_t* next;    // [steps]
  std::uint32_t* kept;   // [words]
  std::int32_t* chunks;  // [ceil(words / kRowsChunk)], rows kept in each
  std::int32_t* first;   // [words]
  std::uint32_t* moved;  // [words, 5]
  std::int32_t* rows;    // [steps], the kept ones, increasing; may be null

  FIMO_HOST_DEVICE std::int64_t words() const { return (block + 31) / 32; }
  FIMO_HOST_DEVICE std::int64_t chunk_count() const { return (words() + kRowsChunk - 1) / kRowsChunk; }
};

FIMO_DEVICE std::int64_t srht_pick(const SrhtShuffle& shuffle, std::int64_t i) {
  const PhiloxBlock bits = philox(static_cast<std::uint64_t>(i), 0, kStreamSrhtRows, shuffle.seed);
  const std::uint64_t u = bits.word[0] | static_cast<std::uint64_t>(bits.word[1]) << 32;
  return i + static_cast<std::int64_t>(multiply_high(u, static_cast<std::uint64_t>(shuffle.block - i)));
}

__global__ void __launch_bounds__(kRowsThreads) srht_clear_kernel(const SrhtShuffle shuffle) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kRowsThreads + threadIdx.x;
  if (i < shuffle.block) shuffle.head[i] = -1;
  if (i < shuffle.words()) shuffle.kept[i] = 0;
  if (i < shuffle.chunk_count()) shuffle.chunks[i] = 0;
}

__global__ void __launch_bounds__(kRowsThreads) srht_link_kernel(const SrhtShuffle shuffle) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kRowsThreads + threadIdx.x;
  if (i >= shuffle.steps) return;
  shuffle.next[i] = atomicExch(shuffle.head + srht_pick(shuffle, i), static_cast<std::int32_t>(i));
}

__global__ void __launch_bounds__(kRowsThreads) srht_keep_kernel(const SrhtShuffle shuffle) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kRowsThreads + threadIdx.x;
  if (i >= shuffle.steps) return;
  std::int64_t position = srht_pick(shuffle, i);
  for (std::int32_t before = static_cast<std::int32_t>(i);;) {
    std::int32_t last = -1;
    for (std::int32_t j = shuffle.head[position]; j >= 0; j = shuffle.next[j]) {
      if (j < before && j > last) last = j;
    }
    if (last < 0) break;
    position = before = last;
  }
  atomicOr(shuffle.kept + position / 32, 1u << position % 32);
  atomicAdd(shuffle.chunks + position / (32 * kRowsChunk), 1);
}

struct SrhtCounts {
  std::int32_t sums[kRowsThreads];
};

/// first and moved. A block has a chunk, a thread four words in a row.
__global__ void __launch_bounds__(kRowsThreads) srht_count_kernel(const SrhtShuffle shuffle) {
  constexpr int kEach = kRowsChunk / kRowsThreads;
  SrhtCounts& counts = shared<SrhtCounts>();
  const int thread = static_cast<int>(threadIdx.x);
  const std::int64_t chunk = blockIdx.x;
  std::int32_t before = 0;  // of the chunks before, this thread's share
  for (std::int64_t c = thread; c < chunk; c += kRowsThreads) before += shuffle.chunks[c];
  counts.sums[thread] = before;
  __syncthreads();
  std::int32_t sum = 0;
  for (int t = 0; t < kRowsThreads; ++t) sum += counts.sums[t];
  __syncthreads();
  std::uint32_t kept[kEach];
  std::int32_t own = 0;
  for (int i = 0; i < kEach; ++i) {
    const std::int64_t w = chunk * kRowsChunk + thread * kEach + i;
    kept[i] = w < shuffle.words() ? shuffle.kept[w] : 0;
    own += __popc(kept[i]);
  }
  counts.sums[thread] = own;
  __syncthreads();
  for (int t = 0; t < thread; ++t) sum += counts.sums[t];
  for (int i = 0; i < kEach; ++i) {
    const std::int64_t w = chunk * kRowsChunk + thread * kEach + i;
    if (w >= shuffle.words()) break;
    shuffle.first[w] = sum;
    sum += __popc(kept[i]);
    std::uint32_t moved[5] = {0, 0, 0, 0, 0};
    int rank = 0;
    for (std::uint32_t rest = kept[i]; rest != 0; rest &= rest - 1, ++rank) {
      const int bit = __ffs(static_cast<int>(rest)) - 1, distance = bit - rank;
      if (shuffle.rows) shuffle.rows[shuffle.first[w] + rank] = static_cast<std::int32_t>(32 * w + bit);
      // The large moves come first, so that bits never pass each other.
#pragma unroll
      for (int digit = 0; digit < 5; ++digit) {
        if (distance >> digit & 1) moved[digit] |= 1u << (rank + (distance >> digit << digit));
      }
    }
#pragma unroll
    for (int digit = 0; digit < 5; ++digit) shuffle.moved[5 * w + digit] = moved[digit];
  }
}

}  // namespace fimo::cuda
