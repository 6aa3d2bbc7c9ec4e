// SPDX-License-Identifier: Apache-2.0
/// \file
/// SRHT of gradients of embeddings: of every block of coordinates that tokens of an example touch, the rows in it are added up,
/// transformed together and added to the sums.
///
/// Floor: delta read once, log2(L) additions for each number of a touched block. A block of threads owns a part of an example's
/// tokens and the blocks of coordinates that they are the first to touch (lists are sorted, so a token's blocks are those after
/// the last one of the token before). It takes one at a time in shared memory, 32 numbers a thread, in the order gather, sign,
/// transform, add, with 4 barriers and those of the transform; several blocks of threads share a multiprocessor, so that others
/// work meanwhile. About 45 instructions a number of a block: gather 6, sign 4, transform 11 + 6, kept rows and signs 12. 8192
/// tokens of 1024 numbers, L = 2048, none in a common block: 1.5 blocks a token, 10^9 instructions, 40 us of an H100's issue
/// slots, where float32 takes 10 to read. Blocks shorter than 1024 leave threads idle, and pay more for the barriers.
#pragma once

#include "cuda/device/hadamard.cuh"
#include "cuda/rows/rows.cuh"

namespace fimo::cuda {

constexpr int kRowsSrhtEach = 32;  // numbers of a thread

struct RowsSrht {
  int log2_block;
  std::int64_t sketch_dim;
  const std::int32_t* kept;  // rows of the transform; null: all
  std::uint64_t seed;
  float scale;
  RowsOut out;

  /// The block that holds a coordinate.
  FIMO_DEVICE std::int64_t block(std::int64_t coordinate) const { return coordinate >> log2_block; }
  /// Philox blocks of the signs out.
  FIMO_DEVICE std::int64_t calls() const { return (sketch_dim + 127) / 128; }
  FIMO_DEVICE std::int64_t row(std::int64_t c) const { return kept ? kept[c] : c; }
};

/// The blocks of coordinates whose first token is token i: [begin, end).
template <class Element>
struct RowsSrhtBlocks {
  std::int64_t begin, end;

  FIMO_DEVICE RowsSrhtBlocks(const RowsList<Element>& list, const RowsSrht& task, std::int64_t i) {
    const std::int64_t last = list.rows.dim - 1;
    begin = task.block(list.coordinate(i));
    end = task.block(list.coordinate(i) + last) + 1;
    if (i > 0) begin = max(begin, task.block(list.coordinate(i - 1) + last) + 1);
  }
};

/// Blocks of up to 2^kBits.
template <int kBits>
struct RowsSrhtTile {
  static constexpr int kSize = 1 << kBits;
  static constexpr int kThreads = kSize / kRowsSrhtEach;
  struct Shared {
    float x[kSize];
    float sums[kSize];  // each belongs to one thread
    std::uint32_t signs_in[kSize / 32], signs_out[kSize / 32];
  };
};

FIMO_DEVICE void rows_srht_signs(std::uint32_t* to, std::uint64_t index, std::uint32_t stream, std::uint64_t seed) {
  const PhiloxBlock bits = philox(index, 0, stream, seed);
#pragma unroll
  for (int w = 0; w < 4; ++w) to[w] = bits.word[w];
}

/// v[m] += the number at position m * threads + thread of the block that begins at `low`, of all tokens from `token` on.
template <class Element, int kThreads>
FIMO_DEVICE void rows_srht_gather(const RowsList<Element>& list, std::int64_t token, std::int64_t low, int size,
                                  float (&v)[kRowsSrhtEach]) {
  for (std::int64_t t = token; t < list.count && list.coordinate(t) - low < size; ++t) {
    const std::int64_t begin = list.coordinate(t) - low, end = begin + list.rows.dim;
    const int from = static_cast<int>(begin > 0 ? begin : 0), to = static_cast<int>(end < size ? end : size);
    const Element* delta = list.delta(t) - begin;
#pragma unroll
    for (int m = 0; m < kRowsSrhtEach; ++m) {
      const int j = m * kThreads + static_cast<int>(threadIdx.x);
      if (j >= from && j < to) v[m] += to_float(delta[j]);
    }
  }
}

/// blockIdx.x = example * parts + part.
template <class Element, int kBits>
__global__ void __launch_bounds__(RowsSrhtTile<kBits>::kThreads, 768 / RowsSrhtTile<kBits>::kThreads)
    rows_srht_kernel(Rows rows, RowsSrht task) {
  using Tile = RowsSrhtTile<kBits>;
  auto& s = shared<typename Tile::Shared>();
  const int thread = static_cast<int>(threadIdx.x), size = 1 << task.log2_block;
  const int calls_in = max(1, size / 128), calls_out = static_cast<int>(task.calls());
  const std::int64_t example = blockIdx.x / task.out.parts, part = blockIdx.x % task.out.parts;
  const RowsList<Element> list(rows, example);
  const std::int64_t last = list.count * (part + 1) / task.out.parts;
  for (int c = thread; c < task.sketch_dim; c += Tile::kThreads) s.sums[c] = 0.0f;
  for (std::int64_t i = list.count * part / task.out.parts; i < last; ++i) {
    const RowsSrhtBlocks<Element> blocks(list, task, i);
    for (std::int64_t block = blocks.begin; block < blocks.end; ++block) {
      const std::int64_t low = block << task.log2_block;
      for (int w = thread; w < calls_in; w += Tile::kThreads) {
        rows_srht_signs(s.signs_in + 4 * w, static_cast<std::uint64_t>(low / 128 + w), kStreamSrhtIn, task.seed);
      }
      for (int w = thread; w < calls_out; w += Tile::kThreads) {
        rows_srht_signs(s.signs_out + 4 * w, static_cast<std::uint64_t>(block * calls_out + w), kStreamSrhtOut, task.seed);
      }
      float v[kRowsSrhtEach] = {};
      rows_srht_gather<Element, Tile::kThreads>(list, i, low, size, v);
      __syncthreads();
#pragma unroll
      for (int m = 0; m < kRowsSrhtEach; ++m) {
        const int j = m * Tile::kThreads + thread, bit = static_cast<int>(low % 128) + j;
        if (j < size) s.x[hadamard_slot(j)] = flip(v[m], s.signs_in[bit / 32] << (31 - bit % 32));
      }
      __syncthreads();
      hadamard_shared(s.x, task.log2_block, 1, thread, Tile::kThreads);
      for (int c = thread; c < task.sketch_dim; c += Tile::kThreads) {
        const float x = s.x[hadamard_slot(static_cast<int>(task.row(c)))];
        s.sums[c] += flip(x, s.signs_out[c / 32] << (31 - c % 32));
      }
      __syncthreads();
    }
  }
  for (int c = thread; c < task.sketch_dim; c += Tile::kThreads) task.out.put(part, example, c, s.sums[c] * task.scale);
}

}  // namespace fimo::cuda
