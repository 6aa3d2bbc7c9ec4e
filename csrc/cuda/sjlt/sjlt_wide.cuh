// SPDX-License-Identifier: Apache-2.0
/// \file
/// SJLT to more outputs than a block can sort (kSjltBuckets), or with so many nonzeros that a chunk would be short: the same
/// table, in global memory, for a range of kSjltWideRange outputs and a segment of the coordinates at a time.
///
/// Entries are counted with integer atomics, placed, and every list sorted by its thread; then a thread adds up the list of a
/// bucket, reading the input where it lies. Nothing here is tuned: every range generates all entries again, and every entry of
/// a row reads 32 bytes.
///
/// The coordinates may be those of tokens of one example: place p is element p % dim of token p / dim, whose coordinate is
/// offset + index[p / dim] dim + p % dim.
#pragma once

#include "cuda/sjlt/sjlt_launch.h"
#include "cuda/sjlt/sjlt_table.cuh"

namespace fimo::cuda {

constexpr int kSjltWideThreads = 256;
constexpr std::int64_t kSjltWideRows = 64;  // grid.y

__global__ void __launch_bounds__(kSjltWideThreads) sjlt_wide_clear_kernel(std::uint32_t* starts, int buckets) {
  const int i = static_cast<int>(blockIdx.x) * kSjltWideThreads + static_cast<int>(threadIdx.x);
  if (i < buckets) starts[i] = 0;
}

/// Counts the entries of the outputs from low on in starts, or (with entries) places them, counting starts up.
__global__ void __launch_bounds__(kSjltWideThreads)
    sjlt_wide_entries_kernel(SjltPlaces places, SjltBlocks blocks, std::uint64_t seed, std::uint32_t low, int buckets,
                             std::uint32_t* starts, std::uint32_t* entries) {
  const std::int64_t e = static_cast<std::int64_t>(blockIdx.x) * kSjltWideThreads + threadIdx.x;
  if (e >= places.count * blocks.nonzeros) return;
  const std::uint32_t place = static_cast<std::uint32_t>(e / blocks.nonzeros),
                      r = static_cast<std::uint32_t>(e % blocks.nonzeros);
  if (!places.inside(places.first + place)) return;
  const std::uint64_t q = places.coordinate(places.first + place) * blocks.nonzeros + r;
  const PhiloxBlock words = philox(q / 4, 0, kStreamSjlt, seed);
  const std::uint32_t word = q & 2 ? (q & 1 ? words.word[3] : words.word[2]) : (q & 1 ? words.word[1] : words.word[0]);
  const std::uint32_t bucket = blocks.bucket(r, word) - low;
  if (bucket >= static_cast<std::uint32_t>(buckets)) return;
  const std::uint32_t to = atomicAdd(starts + bucket, 1u);
  if (entries) entries[to] = place | (word & 1u) << 31;
}

struct SjltScanShared {
  std::uint32_t warps[kSjltTableThreads / kWarp];
};

/// One block. The counts of `buckets` outputs to the numbers of entries before each.
__global__ void __launch_bounds__(kSjltTableThreads) sjlt_wide_scan_kernel(std::uint32_t* starts, int buckets) {
  exclusive_scan<kSjltTableThreads>(starts, buckets, shared<SjltScanShared>().warps);
}

/// After placing, starts[b] is the end of the list of b.
__global__ void __launch_bounds__(kSjltWideThreads)
    sjlt_wide_sort_kernel(const std::uint32_t* starts, int buckets, std::uint32_t* entries) {
  const int b = static_cast<int>(blockIdx.x) * kSjltWideThreads + static_cast<int>(threadIdx.x);
  if (b >= buckets) return;
  const std::uint32_t begin = b ? starts[b - 1] : 0;
  sort_list(entries + begin, starts[b] - begin, 0x7FFFFFFFu);
}

template <class Element>
__global__ void __launch_bounds__(kSjltWideThreads)
    sjlt_wide_kernel(const Element* grads, std::int64_t rows, std::int64_t row_stride, SjltPlaces places,
                     const std::uint32_t* starts, int buckets, const std::uint32_t* entries, float scale, float* out,
                     std::int64_t out_stride) {
  const int b = static_cast<int>(blockIdx.x) * kSjltWideThreads + static_cast<int>(threadIdx.x);
  if (b >= buckets) return;
  const std::uint32_t begin = b ? starts[b - 1] : 0, end = starts[b];
  for (std::int64_t row = blockIdx.y; row < rows && begin < end; row += gridDim.y) {
    float sum = 0.0f;
    for (std::uint32_t at = begin; at < end; ++at) {
      const std::uint32_t entry = entries[at];
      const std::int64_t element = places.element(places.first + (entry & 0x7FFFFFFFu));
      sum = fmaf(to_float(grads[row * row_stride + element]), flip(scale, entry), sum);
    }
    out[row * out_stride + b] += sum;
  }
}

}  // namespace fimo::cuda
