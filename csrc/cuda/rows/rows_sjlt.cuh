// SPDX-License-Identifier: Apache-2.0
/// \file
/// SJLT of gradients of embeddings, for sketches that sjlt_is_wide does not name: a block takes a part of an example's tokens,
/// a chunk of their nonzeros at a time, sorts a chunk by bucket and adds up the lists, each by the thread that owns the bucket.
///
/// Floor: delta read once; a Philox block for 4 nonzeros (15 instructions each), a shared atomic, and an addition. As in
/// sjlt_table.cuh sums are gathered after a sort, since an order that depends on who comes first would change their bits; but
/// a table serves one example here, so it is never written. About 75 instructions a nonzero and 15 a bucket of a chunk; a chunk
/// has 6 barriers, and one block fills a multiprocessor. 8192 tokens of 1024 numbers, one nonzero each and k = 2048: 7 10^8
/// instructions, 25 us of an H100's issue slots and as much waiting; reading float32 takes 10. Tokens of one row are not
/// merged: finding them would cost what it saves.
#pragma once

#include "cuda/rows/rows.cuh"
#include "cuda/sjlt/sjlt_lists.cuh"

namespace fimo::cuda {

constexpr int kRowsSjltThreads = 1024;
constexpr int kRowsSjltQuads = kRowsSjltThreads;  // Philox blocks of a chunk

struct RowsSjlt {
  SjltBlocks blocks;
  int buckets, chunk;  // quads (Philox blocks, of up to 4 nonzeros) in a chunk
  std::uint64_t seed;
  float scale;
  RowsOut out;
};

struct RowsSjltShared {
  float4 values[kRowsSjltQuads];  // ± delta, by quad and word
  float sums[kSjltBuckets];       // each belongs to one thread
  std::uint32_t starts[kSjltBuckets + 1];
  std::uint32_t warps[kRowsSjltThreads / kWarp];
  std::uint16_t entries[4 * kRowsSjltQuads];  // 4 quad + word
};

/// Quads that the nonzeros of a row can touch; a row may begin and end within one.
FIMO_HOST_DEVICE inline std::int64_t rows_sjlt_quads(std::int64_t dim, std::int64_t nonzeros) {
  return (dim * nonzeros + 6) / 4;
}

/// The nonzeros of a quad: puts their signed values into `value`, counts them and gives bucket << 16 | rank; ~0: none.
template <class Element>
FIMO_DEVICE void rows_sjlt_quad(const RowsList<Element>& list, const RowsSjlt& task, std::int64_t token, std::int64_t quad,
                                std::uint32_t* counts, float (&value)[4], std::uint32_t (&found)[4]) {
  const std::uint64_t q = static_cast<std::uint64_t>(list.coordinate(token)) * task.blocks.nonzeros;
  const PhiloxBlock words = philox(q / 4 + static_cast<std::uint64_t>(quad), 0, kStreamSjlt, task.seed);
  const std::int64_t entry = 4 * quad - static_cast<std::int64_t>(q % 4);  // of the first word
  const std::uint64_t from = static_cast<std::uint64_t>(entry > 0 ? entry : 0);
  std::int64_t column = static_cast<std::int64_t>(from / task.blocks.nonzeros);
  std::uint32_t r = static_cast<std::uint32_t>(from % task.blocks.nonzeros);
  const Element* delta = list.delta(token);
#pragma unroll
  for (int w = 0; w < 4; ++w) {
    if (entry + w < 0 || column >= list.rows.dim) continue;
    const std::uint32_t bucket = task.blocks.bucket(r, words.word[w]);
    found[w] = bucket << 16 | atomicAdd(counts + bucket, 1u);
    value[w] = flip(to_float(delta[column]), words.word[w] << 31);
    if (++r == task.blocks.nonzeros) {
      r = 0;
      ++column;
    }
  }
}

/// blockIdx.x = example * parts + part.
template <class Element>
__global__ void __launch_bounds__(kRowsSjltThreads, 1) rows_sjlt_kernel(Rows rows, RowsSjlt task) {
  auto& s = shared<RowsSjltShared>();
  const int thread = static_cast<int>(threadIdx.x);
  const std::int64_t example = blockIdx.x / task.out.parts, part = blockIdx.x % task.out.parts;
  const RowsList<Element> list(rows, example);
  const std::int64_t quads = rows_sjlt_quads(rows.dim, task.blocks.nonzeros), total = list.count * quads;
  const std::int64_t chunks = (total + task.chunk - 1) / task.chunk;
  for (int b = thread; b < task.buckets; b += kRowsSjltThreads) s.sums[b] = 0.0f;
  for (std::int64_t c = chunks * part / task.out.parts; c < chunks * (part + 1) / task.out.parts; ++c) {
    for (int b = thread; b < task.buckets; b += kRowsSjltThreads) s.starts[b] = 0;
    __syncthreads();
    const std::int64_t item = c * task.chunk + thread;
    std::uint32_t found[4] = {~0u, ~0u, ~0u, ~0u};
    if (thread < task.chunk && item < total) {
      float value[4] = {};
      rows_sjlt_quad(list, task, item / quads, item % quads, s.starts, value, found);
      s.values[thread] = make_float4(value[0], value[1], value[2], value[3]);
    }
    __syncthreads();
    exclusive_scan<kRowsSjltThreads>(s.starts, task.buckets, s.warps);
    __syncthreads();
#pragma unroll
    for (int w = 0; w < 4; ++w) {
      if (found[w] == ~0u) continue;
      s.entries[s.starts[found[w] >> 16] + (found[w] & 0xFFFFu)] = static_cast<std::uint16_t>(4 * thread + w);
    }
    __syncthreads();
    const float* values = reinterpret_cast<const float*>(s.values);
    for (int b = thread; b < task.buckets; b += kRowsSjltThreads) {
      std::uint16_t* entries = s.entries + s.starts[b];
      const std::uint32_t count = s.starts[b + 1] - s.starts[b];
      sort_list(entries, count, std::uint16_t{0xFFFF});
      for (std::uint32_t at = 0; at < count; ++at) s.sums[b] += values[entries[at]];
    }
    __syncthreads();
  }
  for (int b = thread; b < task.buckets; b += kRowsSjltThreads) task.out.put(part, example, b, s.sums[b] * task.scale);
}

}  // namespace fimo::cuda
