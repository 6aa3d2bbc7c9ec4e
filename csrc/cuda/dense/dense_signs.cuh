// SPDX-License-Identifier: Apache-2.0
/// \file
/// Rademacher sketches as matrix products whose first factor, the signs, is made in registers.
///
/// Floor: rows * dim * sketch_dim multiply-adds on the tensor cores (float32: three times as many), 16 x 8 x 16 at a time;
/// bytes are few beside them: x once, sums once. For 32 rows, 1,048,576 coordinates and k = 2,048 these are 33.6 million
/// products, 0.22 ms at the 613 TFLOP/s that mma.sync reaches on an H100.
///
/// A block owns 512 columns and 8 kTiles rows and walks along its part of the coordinates in stages of 256. For a stage it
/// makes each Philox block once (four coordinates a thread, their bytes interleaved, so that a word of shared memory holds
/// eight columns of the four coordinates that a lane of a fragment needs), and brings x in the order of fragments. A warp owns
/// 64 columns and all rows. A register of signs costs a shift and a logic operation and serves kTiles products a part, and
/// every word of shared memory is read once: with 32 rows 31 instructions make what 16 products (103 clocks at 62 % of the
/// peak) use. Of the two warps of a sub-partition one makes the next stage before its products and the other after them, so
/// that the tensor cores always have work; one barrier a stage. Sums and chains take 128 registers, hence one block an SM.
///
/// Column of a fragment's row: lane group g, row g + 8 h of m-tile m is column 32 g + 8 (warp % 4) + 2 m + h of the warp
/// group's 256. Coordinates: lane t of the group holds 8 t ... 8 t + 7 of 32, four a step, in the signs and in x alike.
#pragma once

#include "cuda/dense/dense_values.cuh"

namespace fimo::cuda {

constexpr int kSignsStage = 256;    // coordinates
constexpr int kSignsColumns = 512;  // of a block
constexpr int kSignsDepth = kSignsStage / 32;
constexpr int kSignsPitch = kSignsColumns + 8;  // words for 32 coordinates: neighbours differ by 8 banks

template <class Element, int kTiles>
struct SignsShared {
  uint4 x[2][kSignsDepth][DenseElement<Element>::kParts][kTiles][kWarp];
  alignas(16) std::uint32_t signs[2][kSignsDepth][kSignsPitch];
};

/// The signs of a stage's 256 coordinates: a thread makes four coordinates of 128 columns.
FIMO_DEVICE void make_signs(const DenseTask& task, std::uint64_t first, std::int64_t col_tile,
                            std::uint32_t (&signs)[kSignsDepth][kSignsPitch]) {
  const int four = threadIdx.x % 64, quarter = threadIdx.x / 64;
  const std::int64_t part = col_tile * 4 + quarter;
  if (part * 128 >= task.cols) return;
  PhiloxBlock block[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    block[i] = philox(first + static_cast<std::uint64_t>(4 * four + i), static_cast<std::uint32_t>(part), kStreamRademacher,
                      task.seed);
  }
  std::uint32_t* to = &signs[four / 8][(quarter / 2 * 4) * 64 + (quarter % 2) * 32 + four % 8];
#pragma unroll
  for (int v = 0; v < 4; ++v) {  // bytes: coordinates 2, 0, 3, 1 from the lowest
    const std::uint32_t low20 = __byte_perm(block[2].word[v], block[0].word[v], 0x5140);
    const std::uint32_t high20 = __byte_perm(block[2].word[v], block[0].word[v], 0x7362);
    const std::uint32_t low31 = __byte_perm(block[3].word[v], block[1].word[v], 0x5140);
    const std::uint32_t high31 = __byte_perm(block[3].word[v], block[1].word[v], 0x7362);
    to[0 * 64 + v * 8] = __byte_perm(low20, low31, 0x5410);
    to[1 * 64 + v * 8] = __byte_perm(low20, low31, 0x7632);
    to[2 * 64 + v * 8] = __byte_perm(high20, high31, 0x5410);
    to[3 * 64 + v * 8] = __byte_perm(high20, high31, 0x7632);
  }
}

/// Brings x[rows of the tile, first : first + 256] into fragments; zeros beyond the rows and `end`. A warp brings 8 rows and 32
/// coordinates at a time, a lane 8 coordinates of a row.
template <class Element, int kTiles>
struct SignsRows {
  using Values = DenseElement<Element>;
  static constexpr bool kCopies = Values::kParts == 1;  // nothing to convert
  typename Values::Four held[kTiles][2];

  FIMO_DEVICE void load(const DenseTask& task, std::int64_t row_first, std::int64_t first, std::int64_t end,
                        SignsShared<Element, kTiles>& memory, int buffer) {
    const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
      const int slot = i * 8 + warp, n = slot % kTiles, depth = slot / kTiles;
      const std::int64_t row = row_first + n * 8 + lane / 4, at = first + depth * 32 + lane % 4 * 8;
      const std::int64_t left = row < task.rows ? end - at : 0;
      const Element* from = static_cast<const Element*>(task.x) + (left > 0 ? row * task.row_stride + at : 0);
      if constexpr (kCopies) {
        uint4* to = &memory.x[buffer][depth][0][n][lane];
        if (task.aligned && (left >= 8 || left <= 0)) {
          copy_async<16>(to, from, left > 0);
        } else {
          const auto a = Values::load(from, left), b = Values::load(from + 4, left - 4);
          *to = {a.bits.x, a.bits.y, b.bits.x, b.bits.y};
        }
      } else {
        held[i][0] = Values::load(from, left, task.aligned);
        held[i][1] = Values::load(from + 4, left - 4, task.aligned);
      }
    }
  }

  /// The rest of the work after load().
  FIMO_DEVICE void store(const DenseTask& task, SignsShared<Element, kTiles>& memory, int buffer) const {
    if constexpr (!kCopies) {
      const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
#pragma unroll
      for (int i = 0; i < kTiles; ++i) {
        const int slot = i * 8 + warp, n = slot % kTiles, depth = slot / kTiles;
        uint2 a[Values::kParts], b[Values::kParts];
        Values::split(held[i][0], task.scale, a);
        Values::split(held[i][1], task.scale, b);
#pragma unroll
        for (int part = 0; part < Values::kParts; ++part) {
          memory.x[buffer][depth][part][n][lane] = {a[part].x, a[part].y, b[part].x, b[part].y};
        }
      }
    }
  }
};

/// sums += the products of a stage.
template <class Element, int kTiles>
FIMO_DEVICE void multiply_signs(const SignsShared<Element, kTiles>& memory, int buffer, float (&sums)[4][kTiles][4]) {
  using Values = DenseElement<Element>;
  constexpr int kChain = Values::kParts == 1 ? kSignsDepth : kSignsDepth / 2;  // steps of 32 coordinates: 16 or 24 products
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
#pragma unroll 1
  for (int begin = 0; begin < kSignsDepth; begin += kChain) {
    float chain[4][kTiles][4] = {};
#pragma unroll(Values::kParts == 1 ? 2 : 1)  // the next signs come while the last are used, if registers allow
    for (int depth = begin; depth < begin + kChain; ++depth) {
      const uint2 bits = *reinterpret_cast<const uint2*>(&memory.signs[buffer][depth][warp * 64 + lane * 2]);
      std::uint32_t a[2][4][4];
#pragma unroll
      for (int step = 0; step < 2; ++step) {
#pragma unroll
        for (int m = 0; m < 4; ++m) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {  // rows 8 (i % 2) further, coordinates 2 (i / 2) further
            const int shift = 7 - (2 * m + i % 2) + 8 * (i / 2);
            a[step][m][i] = masked_or((step ? bits.y : bits.x) << shift, 0x80008000u, Values::kOnes);
          }
        }
      }
#pragma unroll
      for (int part = Values::kParts - 1; part >= 0; --part) {
        uint4 b[kTiles];
#pragma unroll
        for (int n = 0; n < kTiles; ++n) b[n] = memory.x[buffer][depth][part][n][lane];
#pragma unroll
        for (int step = 0; step < 2; ++step) {
#pragma unroll
          for (int n = 0; n < kTiles; ++n) {
            const std::uint32_t pair[2] = {step ? b[n].z : b[n].x, step ? b[n].w : b[n].y};
#pragma unroll
            for (int m = 0; m < 4; ++m) Values::mma(chain[m][n], a[step][m], pair);
          }
        }
      }
    }
#pragma unroll
    for (int m = 0; m < 4; ++m) {
#pragma unroll
      for (int n = 0; n < kTiles; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[m][n][i] += chain[m][n][i];
      }
    }
  }
}

/// kTiles: 8 rows each.
template <class Element, int kTiles>
__global__ void __launch_bounds__(kDenseThreads) signs_kernel(DenseTask task) {
  auto& memory = shared<SignsShared<Element, kTiles>>();
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const DenseTile tile(task);
  const std::int64_t row_first = tile.row_tile * 8 * kTiles;
  const bool early = warp < 4;
  float sums[4][kTiles][4] = {};

  // Iteration -1 only makes the first stage.
  int buffer = 1;
  for (std::int64_t at = tile.begin - kSignsStage; at < tile.end; at += kSignsStage, buffer ^= 1) {
    const std::int64_t next = at + kSignsStage;
    SignsRows<Element, kTiles> rows;
    if (rows.kCopies && next < tile.end) rows.load(task, row_first, next, tile.end, memory, buffer ^ 1);
#pragma unroll 1
    for (int turn = 0; turn < 2; ++turn) {
      if ((turn == 0) == early) {
        if (next >= tile.end) continue;
        if (!rows.kCopies) rows.load(task, row_first, next, tile.end, memory, buffer ^ 1);
        make_signs(task, task.first + static_cast<std::uint64_t>(next), tile.col_tile, memory.signs[buffer ^ 1]);
        rows.store(task, memory, buffer ^ 1);
      } else if (at >= tile.begin) {
        multiply_signs<Element, kTiles>(memory, buffer, sums);
      }
    }
    if (rows.kCopies) {
      copy_async_commit();
      copy_async_wait<0>();
    }
    __syncthreads();
  }

  const float scale = DenseElement<Element>::scale_of_sums(task.scale);
  const std::int64_t col = tile.col_tile * kSignsColumns + warp / 4 * 256 + lane / 4 * 32 + warp % 4 * 8;
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      float scaled[8];
#pragma unroll
      for (int bit = 0; bit < 8; ++bit) scaled[bit] = sums[bit / 2][n][bit % 2 * 2 + e] * scale;
      store_sums(task, tile, scaled, [&](int bit) { return DensePlace{row_first + n * 8 + lane % 4 * 2 + e, col + bit}; });
    }
  }
}

}  // namespace fimo::cuda
