// SPDX-License-Identifier: Apache-2.0
/// \file
/// SRHT of outer products of a few tokens: the tiles of srht.cuh, whose elements sum_t delta_t[i] a_t[j] are made where they
/// are needed. Formed first, an element costs eight bytes of traffic more; made here, about 5 instructions for one token (of
/// four elements: 6 for row and column, 4 for addresses and loads from the first-level cache, 4 products, a store), and 1.5 for
/// each further one, beside the 20 of the transform: 25 instructions an element are 0.37 clocks of a multiprocessor, 8 bytes
/// 0.55.
#pragma once

#include "cuda/srht/srht.cuh"

namespace fimo::cuda {

struct SrhtOuter {
  const float *a, *delta;
  std::int64_t a_batch, a_token, delta_batch, delta_token;  // strides
  int tokens;
  std::uint32_t n;
  std::uint32_t inverse;  // floor(2^32 / n), at most 2^32 - 1
  bool aligned;           // four entries that begin at a multiple of four coordinates: one row of G, a's at 16 bytes
};

/// x / n and x % n of x < 2^31.
FIMO_DEVICE void srht_outer_divide(const SrhtOuter& outer, std::uint32_t x, std::uint32_t& quotient, std::uint32_t& rest) {
  quotient = __umulhi(x, outer.inverse);  // or one less
  rest = x - quotient * outer.n;
  if (rest >= outer.n) {
    rest -= outer.n;
    ++quotient;
  }
}

/// Puts the outer products' entries of a tile to `to`, zeros beside them.
template <class Tile>
FIMO_DEVICE void srht_outer_fetch(const SrhtTask& task, const SrhtOuter& outer, const float* a, const float* delta,
                                  std::int64_t tile, float* to, int thread) {
  // Entries count from the tile's first one, which is `column` of row 0 of what delta and a point to.
  const std::int64_t entry = tile * Tile::kSize - task.begin, first = entry > 0 ? entry : 0;
  const std::int64_t row = first >> 32 ? first / outer.n : static_cast<std::uint32_t>(first) / outer.n;
  const auto column = static_cast<std::uint32_t>(first - row * outer.n);
  delta += row;
  if (outer.aligned && entry >= 0 && entry + Tile::kSize <= task.end - task.begin) {
#pragma unroll 2
    for (int i = thread * 4; i < Tile::kSize; i += Tile::kThreads * 4) {
      std::uint32_t q, r;
      srht_outer_divide(outer, column + i, q, r);
      float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
      for (int t = 0; t < outer.tokens; ++t) {
        const float d = delta[t * outer.delta_token + q];
        const float4 x = *reinterpret_cast<const float4*>(a + t * outer.a_token + r);
        sum = make_float4(fmaf(d, x.x, sum.x), fmaf(d, x.y, sum.y), fmaf(d, x.z, sum.z), fmaf(d, x.w, sum.w));
      }
      *reinterpret_cast<float4*>(to + Tile::slot(i)) = sum;
    }
    return;
  }
  for (int i = thread; i < Tile::kSize; i += Tile::kThreads) {
    float sum = 0.0f;
    if (entry + i >= 0 && entry + i < task.end - task.begin) {
      std::uint32_t q, r;
      srht_outer_divide(outer, static_cast<std::uint32_t>(entry + i - first) + column, q, r);
      for (int t = 0; t < outer.tokens; ++t) sum = fmaf(delta[t * outer.delta_token + q], a[t * outer.a_token + r], sum);
    }
    to[Tile::slot(i)] = sum;
  }
}

template <int kBits, bool packed>
__global__ void __launch_bounds__((SrhtTile<float, kBits, packed>::kBlockThreads),
                                  (SrhtTile<float, kBits, packed>::kBlocksPerSm))
    srht_outer_kernel(const SrhtTask task, const SrhtOuter outer) {
  using Tile = SrhtTile<float, kBits, packed>;
  srht_run<float, Tile>(task, [&](const float*, std::int64_t tile, float* to, int thread) {
    const std::int64_t row = opaque(blockIdx.x) % task.rows;  // found again, since registers are full
    srht_outer_fetch<Tile>(task, outer, outer.a + row * outer.a_batch, outer.delta + row * outer.delta_batch, tile, to, thread);
  });
}

}  // namespace fimo::cuda
