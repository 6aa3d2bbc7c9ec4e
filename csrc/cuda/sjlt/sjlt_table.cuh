// SPDX-License-Identifier: Apache-2.0
/// \file
/// The table of an SJLT: the nonzeros of a chunk of coordinates, sorted by bucket, then by coordinate.
///
/// It is built once for all rows. A block sorts a chunk in shared memory: count the entries of each bucket, add the counts up,
/// place the entries by their rank, then bring the few entries of each bucket into their order, because the ranks that atomics
/// give depend on who came first. Chunks are short enough that a bucket has kSjltMeanList entries on average, so sorting a
/// list by insertion is cheap (about 4 moves for the 4 entries of a chunk of the usual sizes).
///
/// Cost: a Philox block for 4 nonzeros, then about 25 instructions a nonzero, 2 bytes written; the 4 million nonzeros of 2^20
/// coordinates take 160 million instructions, 3 us on 132 multiprocessors.
#pragma once

#include "cuda/sjlt/sjlt_lists.cuh"

namespace fimo::cuda {

constexpr int kSjltTableThreads = 1024;
constexpr int kSjltBlocksEach = 4;                                         // Philox blocks of a thread
constexpr int kSjltEntries = 4 * kSjltBlocksEach * kSjltTableThreads - 4;  // of a chunk; it may begin within a block
constexpr int kSjltPositions = 4096;                                       // coordinates of a chunk

/// An entry of a table: its place in the chunk, and the sign in the top bit.
using SjltEntry = std::uint16_t;

/// A chunk's part of the table: `starts`, buckets + 1 numbers, then `entries`.
struct SjltTable {
  SjltEntry* entries;
  std::uint16_t* starts;
  std::int64_t entries_stride, starts_stride;  // from chunk to chunk, multiples of 8
};

struct SjltTableShared {
  std::uint32_t starts[kSjltBuckets + 1];
  std::uint32_t warps[kSjltTableThreads / kWarp];
  SjltEntry entries[kSjltEntries];
};

/// A block for each chunk of `chunk` coordinates (the last one may be shorter) from coordinate `first` on, `count` in all.
__global__ void __launch_bounds__(kSjltTableThreads, 1)
    sjlt_table_kernel(std::uint64_t first, std::int64_t count, int chunk, SjltBlocks blocks, int buckets, std::uint64_t seed,
                      SjltTable table) {
  auto& s = shared<SjltTableShared>();
  const int thread = static_cast<int>(threadIdx.x);
  const std::int64_t begin = static_cast<std::int64_t>(blockIdx.x) * chunk;
  const int places = static_cast<int>(min(count - begin, static_cast<std::int64_t>(chunk)));
  const int entries = places * static_cast<int>(blocks.nonzeros);
  const std::uint64_t q = (first + static_cast<std::uint64_t>(begin)) * blocks.nonzeros;
  const int skip = static_cast<int>(q % 4);
  for (int i = thread; i < buckets; i += kSjltTableThreads) s.starts[i] = 0;
  __syncthreads();

  // Bucket and rank of an entry; ~0: none. The sign and the place are found again.
  std::uint32_t found[kSjltBlocksEach][4], signs = 0;
#pragma unroll
  for (int i = 0; i < kSjltBlocksEach; ++i) {
    const int block = i * kSjltTableThreads + thread;
    const int e = 4 * block - skip;  // the entry of the first word
    if (e < entries) {
      const PhiloxBlock words = philox(q / 4 + static_cast<std::uint64_t>(block), 0, kStreamSjlt, seed);
      std::uint32_t r = static_cast<std::uint32_t>(e + static_cast<int>(blocks.nonzeros) * 4) % blocks.nonzeros;
#pragma unroll
      for (int w = 0; w < 4; ++w) {
        found[i][w] = ~0u;
        if (e + w >= 0 && e + w < entries) {
          const std::uint32_t bucket = blocks.bucket(r, words.word[w]);
          found[i][w] = bucket << 16 | atomicAdd(&s.starts[bucket], 1u);
          signs |= (words.word[w] & 1u) << (4 * i + w);
        }
        r = r + 1 == blocks.nonzeros ? 0 : r + 1;
      }
    }
  }
  __syncthreads();
  exclusive_scan<kSjltTableThreads>(s.starts, buckets, s.warps);
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kSjltBlocksEach; ++i) {
    const int e = 4 * (i * kSjltTableThreads + thread) - skip;
    if (e < entries) {
      std::uint32_t place = static_cast<std::uint32_t>(max(e, 0)) / blocks.nonzeros;
      std::uint32_t next = (place + 1) * blocks.nonzeros;
#pragma unroll
      for (int w = 0; w < 4; ++w) {
        if (static_cast<int>(next) <= e + w) {
          ++place;
          next += blocks.nonzeros;
        }
        if (found[i][w] == ~0u) continue;
        const std::uint32_t to = s.starts[found[i][w] >> 16] + (found[i][w] & 0xFFFFu);
        s.entries[to] = static_cast<SjltEntry>(place | (signs >> (4 * i + w) & 1u) << 15);
      }
    }
  }
  __syncthreads();
  for (int b = thread; b < buckets; b += kSjltTableThreads) {
    sort_list(s.entries + s.starts[b], s.starts[b + 1] - s.starts[b], SjltEntry{0x7FFF});
  }
  std::uint16_t* starts = table.starts + blockIdx.x * table.starts_stride;
  for (int i = thread; i <= buckets; i += kSjltTableThreads) starts[i] = static_cast<std::uint16_t>(s.starts[i]);
  __syncthreads();
  SjltEntry* to = table.entries + blockIdx.x * table.entries_stride;
  for (int i = thread; i < entries; i += kSjltTableThreads) to[i] = s.entries[i];
}

}  // namespace fimo::cuda
