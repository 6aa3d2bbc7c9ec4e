// SPDX-License-Identifier: Apache-2.0
/// \file
/// Formed gradients of many tokens on tensor cores: see form.cuh.
#pragma once

#include "cuda/device/instructions.cuh"
#include "cuda/outer/form.cuh"

namespace fimo::cuda {

constexpr int kFormDepth = 16;  // tokens of a stage
constexpr int kFormStages = 3;
constexpr int kFormWarpRows = 64, kFormWarpColumns = 32;
constexpr int kFlushTokens = 512;

/// Rows are 32 bytes longer than the tile: the four tokens that a warp reads at once lie 32 bytes apart in the banks.
template <class Element, int Tile>
struct FormShared {
  static constexpr int kPitch = Tile + 32 / static_cast<int>(sizeof(Element));
  Element delta[kFormStages][kFormDepth][kPitch];
  Element a[kFormStages][kFormDepth][kPitch];
};

/// Starts loading kFormDepth tokens from `token` on, of the first `columns` columns of a tile; zeros beyond them and `tokens`.
template <class Element, int Tile, int Threads>
FIMO_DEVICE void form_load(Element (&to)[kFormDepth][FormShared<Element, Tile>::kPitch], const Element* from,
                           std::int64_t token_stride, int token, int tokens, int columns, bool vector) {
  constexpr int kVector = 16 / static_cast<int>(sizeof(Element));
  if (vector) {
#pragma unroll
    for (int i = threadIdx.x; i < kFormDepth * Tile / kVector; i += Threads) {
      const int k = i / (Tile / kVector), c = i % (Tile / kVector) * kVector;
      const bool inside = token + k < tokens && c < columns;
      copy_async<16>(&to[k][c], inside ? from + (token + k) * token_stride + c : from, inside);
    }
    return;
  }
#pragma unroll 1
  for (int i = threadIdx.x; i < kFormDepth * Tile; i += Threads) {
    const int k = i / Tile, c = i % Tile;
    const bool inside = token + k < tokens && c < columns;
    const Element* source = inside ? from + (token + k) * token_stride + c : from;
    if constexpr (sizeof(Element) == 4) {
      copy_async<4>(&to[k][c], source, inside);
    } else {
      to[k][c] = inside ? *source : Element(0.0f);
    }
  }
}

/// Four neighbouring numbers of a tile.
FIMO_DEVICE void form_four(const float* from, float (&x)[4]) {
  const float4 v = *reinterpret_cast<const float4*>(from);
  x[0] = v.x, x[1] = v.y, x[2] = v.z, x[3] = v.w;
}
FIMO_DEVICE void form_four(const __nv_bfloat16* from, float (&x)[4]) {
  const uint2 v = *reinterpret_cast<const uint2*>(from);
  x[0] = __uint_as_float(v.x << 16), x[1] = __uint_as_float(v.x & 0xFFFF0000u);
  x[2] = __uint_as_float(v.y << 16), x[3] = __uint_as_float(v.y & 0xFFFF0000u);
}
FIMO_DEVICE void form_four(const __half* from, float (&x)[4]) {
  const uint2 v = *reinterpret_cast<const uint2*>(from);
  x[0] = __half2float(__ushort_as_half(static_cast<unsigned short>(v.x)));
  x[1] = __half2float(__ushort_as_half(static_cast<unsigned short>(v.x >> 16)));
  x[2] = __half2float(__ushort_as_half(static_cast<unsigned short>(v.y)));
  x[3] = __half2float(__ushort_as_half(static_cast<unsigned short>(v.y >> 16)));
}

/// x = high + low: high rounded to TF32, low exact (the tensor core sees its leading 11 bits).
FIMO_DEVICE void form_split(float x, std::uint32_t& high, std::uint32_t& low) {
  high = (__float_as_uint(x) + 0x1000u) & 0xFFFFE000u;
  low = __float_as_uint(x - __uint_as_float(high));
}

/// sums += the products of a stage. With g = lane / 4 and t = lane % 4, the lane reads columns 4 g .. 4 g + 3 of every 32, of
/// tokens t and t + 4 of every 8. Of delta, the four are rows g and g + 8 of two fragments; of a, column g of four fragments.
template <class Element, int Tile>
FIMO_DEVICE void form_multiply(const Element (&delta)[kFormDepth][FormShared<Element, Tile>::kPitch],
                               const Element (&a)[kFormDepth][FormShared<Element, Tile>::kPitch], int warp_row, int warp_column,
                               float (&sums)[4][4][4]) {
  constexpr bool kSplit = sizeof(Element) == 4;
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
#pragma unroll 1
  for (int k = 0; k < kFormDepth; k += 8) {
    std::uint32_t b[4][2], b_low[4][2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float x[4];
      form_four(&a[k + t + 4 * h][warp_column + 4 * g], x);
#pragma unroll
      for (int q = 0; q < 4; ++q) {
        if constexpr (kSplit) {
          form_split(x[q], b[q][h], b_low[q][h]);
        } else {
          b[q][h] = __float_as_uint(x[q]);
        }
      }
    }
#pragma unroll
    for (int pair = 0; pair < 2; ++pair) {
      std::uint32_t d[2][4], d_low[2][4];
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float x[4];
        form_four(&delta[k + t + 4 * h][warp_row + 32 * pair + 4 * g], x);
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          if constexpr (kSplit) {
            form_split(x[e], d[e / 2][e % 2 + 2 * h], d_low[e / 2][e % 2 + 2 * h]);
          } else {
            d[e / 2][e % 2 + 2 * h] = __float_as_uint(x[e]);
          }
        }
      }
      if constexpr (kSplit) {
#pragma unroll
        for (int i = 0; i < 8; ++i) mma_tf32(sums[2 * pair + i / 4][i % 4], d_low[i / 4], b[i % 4]);
#pragma unroll
        for (int i = 0; i < 8; ++i) mma_tf32(sums[2 * pair + i / 4][i % 4], d[i / 4], b_low[i % 4]);
      }
#pragma unroll
      for (int i = 0; i < 8; ++i) mma_tf32(sums[2 * pair + i / 4][i % 4], d[i / 4], b[i % 4]);
    }
  }
}

/// Grid: x: examples x row tiles x column tiles; y: parts of `part` tokens, of which the first goes to task.out and the others
/// to parts [part - 1, examples, end - begin]. Tile x Tile entries a block of (Tile / 64) (Tile / 32) warps.
template <class Element, int Tile>
__global__ void __launch_bounds__(Tile* Tile / 64, Tile == 128 ? 2 : 8)
    form_tile_kernel(FormTask<Element> task, std::int64_t part, float* parts, std::int64_t examples, bool vector_in) {
  constexpr int kThreads = Tile * Tile / 64, kColumnWarps = Tile / kFormWarpColumns;
  auto& s = shared<FormShared<Element, Tile>>();
  const FormPlace at = form_place(task, blockIdx.x, Tile, Tile);
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.y) * part;
  const int tokens = static_cast<int>(first + part < task.tokens ? part : task.tokens - first);
  const int steps = (tokens + kFormDepth - 1) / kFormDepth;
  const int rows = static_cast<int>(task.m - at.row < Tile ? task.m - at.row : Tile);
  const int columns = static_cast<int>(task.n - at.column < Tile ? task.n - at.column : Tile);
  const Element* delta = task.delta + at.example * task.delta_batch + first * task.delta_token + at.row;
  const Element* a = task.a + at.example * task.a_batch + first * task.a_token + at.column;
  const auto load = [&](int step) {
    const int stage = step % kFormStages;
    if (step < steps) {
      form_load<Element, Tile, kThreads>(s.delta[stage], delta, task.delta_token, step * kFormDepth, tokens, rows, vector_in);
      form_load<Element, Tile, kThreads>(s.a[stage], a, task.a_token, step * kFormDepth, tokens, columns, vector_in);
    }
    copy_async_commit();
  };
  for (int step = 0; step < kFormStages - 1; ++step) load(step);

  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  const int warp_row = warp / kColumnWarps * kFormWarpRows, warp_column = warp % kColumnWarps * kFormWarpColumns;
  float sums[4][4][4] = {};
  for (int step = 0; step < steps; ++step) {
    copy_async_wait<kFormStages - 2>();
    __syncthreads();  // the stage is there, and nobody reads the one that the next load overwrites
    load(step + kFormStages - 1);
    form_multiply<Element, Tile>(s.delta[step % kFormStages], s.a[step % kFormStages], warp_row, warp_column, sums);
    if (step + 1 < steps && (step + 1) % (kFlushTokens / kFormDepth) != 0) continue;
    const FormPlace to = form_place(task, static_cast<unsigned>(opaque(blockIdx.x)), Tile, Tile);
    float* out = blockIdx.y == 0 ? task.out + to.example * task.stride
                                 : parts + ((blockIdx.y - 1) * examples + to.example) * (task.end - task.begin);
    const bool add = step >= kFlushTokens / kFormDepth || (blockIdx.y == 0 && task.accumulate);
    const std::int64_t first_row = to.row + warp_row + 4 * g, first_column = to.column + warp_column + 8 * t;
#pragma unroll
    for (int i = 0; i < 8; ++i) {  // rows 4 g .. 4 g + 3 of every 32
      const int tile = i / 2, half = i % 2;
      const std::int64_t row = first_row + 32 * (tile / 2) + 2 * (tile % 2) + half;
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        float x[4];
#pragma unroll
        for (int q = 0; q < 4; ++q) {
          x[q] = sums[tile][q][2 * half + c];
          sums[tile][q][2 * half + c] = 0.0f;
        }
        form_store(task, out, task.vector_out, add, row, first_column + 4 * c, x);
      }
    }
  }
}

}  // namespace fimo::cuda
