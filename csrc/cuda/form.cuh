// SPDX-License-Identifier: Apache-2.0
/// \file
/// out[b, i n + j] (+)= sum_t delta[b, t, i] a[b, t, j]: formed gradients, and the products of sketched factors.
///
/// Floor: 4 bytes written an entry (the factors are small beside it) and T multiply-adds. An H100 writes 14.5 bytes a clock and
/// SM, so an entry may take 0.28 clocks there: up to about 90 tokens of TF32 products of bfloat16 or float16, 30 of float32
/// (three products each) hide behind the writes.
///   form_few_kernel   up to kFewTokens tokens: four columns of all tokens in a thread's registers, the rows one after the
///                     other; an instruction for each multiply-add, 16 bytes a store. About 50 instructions for 512 bytes of
///                     a warp, a third of what would be as slow as the writes.
///   form_tile_kernel  more: TF32 tensor cores read tiles of tokens as they lie in memory, [tokens][columns]. bfloat16 and
///                     float16 are exact in TF32; float32 is cut in two parts and takes three products, whose error is that
///                     of float32. A lane reads four neighbouring columns at once (16 or 8 bytes, no bank conflicts) and
///                     deals them to the rows and columns of four products, so that its sums are eight neighbours and are
///                     stored 16 bytes at a time.
/// Tokens are added in order. The tensor cores' sums, which are cut rather than rounded, go to `out` every kFlushTokens.
#pragma once

#include "cuda/instructions.cuh"

namespace fimo::cuda {

constexpr int kFewTokens = 8;
constexpr int kFewThreads = 256;
constexpr int kFewColumns = 4;    // of a thread
constexpr int kFewMaxRows = 256;  // of a block

/// Where and what. Entries i n + j in [begin, end) of `examples` examples, as rows of out `stride` apart.
template <class Element>
struct FormTask {
  const Element *a, *delta;
  std::int64_t a_batch, a_token, delta_batch, delta_token;  // strides
  std::int64_t tokens, n, m;
  std::int64_t begin, end;
  std::int64_t first_row, first_column, row_tiles, column_tiles;
  float* out;
  std::int64_t stride;
  bool accumulate;  // else overwrite
  bool vector_out;  // 16-byte stores
};

FIMO_DEVICE float form_float(float x) { return x; }
FIMO_DEVICE float form_float(__nv_bfloat16 x) { return __bfloat162float(x); }
FIMO_DEVICE float form_float(__half x) { return __half2float(x); }

/// out[row, column .. column + 3] (+)= x.
template <class Task>
FIMO_DEVICE void form_store(const Task& task, float* out, bool vector, bool add, std::int64_t row, std::int64_t column,
                            const float (&x)[4]) {
  const std::int64_t entry = row * task.n + column;
  if (row >= task.m) return;
  float* target = out + (entry - task.begin);
  if (vector && column < task.n && entry >= task.begin && entry + 4 <= task.end) {
    float4 sum = make_float4(x[0], x[1], x[2], x[3]);
    if (add) {
      const float4 old = *reinterpret_cast<const float4*>(target);
      sum = make_float4(old.x + sum.x, old.y + sum.y, old.z + sum.z, old.w + sum.w);
    }
    *reinterpret_cast<float4*>(target) = sum;
    return;
  }
  for (int i = 0; i < 4; ++i) {
    if (column + i < task.n && entry + i >= task.begin && entry + i < task.end) target[i] = add ? target[i] + x[i] : x[i];
  }
}

// --- Few tokens -----------------------------------------------------------------------------------------

struct FormFewShared {
  float delta[kFewMaxRows][kFewTokens];
};

/// Grid: examples x row tiles x column tiles. A row of threads covers `lanes_x` x 4 columns; the block has
/// kFewThreads / lanes_x such rows, which take the `rows` rows of the tile in turn.
template <class Element>
__global__ void __launch_bounds__(kFewThreads) form_few_kernel(FormTask<Element> task, int lanes_x, int rows) {
  auto& s = shared<FormFewShared>();
  const std::int64_t block = blockIdx.x, tiles = task.row_tiles * task.column_tiles, example = block / tiles;
  const int tile = static_cast<int>(block % tiles / task.column_tiles);
  const std::int64_t row0 = task.first_row + static_cast<std::int64_t>(tile) * rows;
  const std::int64_t column0 = task.first_column + block % task.column_tiles * (lanes_x * kFewColumns);
  const int tokens = static_cast<int>(task.tokens);
  const Element* delta = task.delta + example * task.delta_batch;
  for (int i = threadIdx.x; i < rows * kFewTokens; i += kFewThreads) {
    const int row = i % rows, t = i / rows;
    const bool inside = t < tokens && row0 + row < task.m;
    s.delta[row][t] = inside ? form_float(delta[t * task.delta_token + row0 + row]) : 0.0f;
  }
  // Neighbouring lanes own neighbouring columns: four each where stores take 16 bytes, else one each, four times.
  const int lane = threadIdx.x % lanes_x, step = task.vector_out ? 1 : lanes_x;
  const std::int64_t column = column0 + (task.vector_out ? lane * kFewColumns : lane);
  const Element* a = task.a + example * task.a_batch;
  float x[kFewTokens][kFewColumns];
#pragma unroll
  for (int t = 0; t < kFewTokens; ++t) {
#pragma unroll
    for (int c = 0; c < kFewColumns; ++c) {
      const bool inside = t < tokens && column + c * step < task.n;
      x[t][c] = inside ? form_float(a[t * task.a_token + column + c * step]) : 0.0f;
    }
  }
  __syncthreads();
  float* out = task.out + example * task.stride;
  for (int row = threadIdx.x / lanes_x; row < rows; row += kFewThreads / lanes_x) {
    float sums[kFewColumns] = {};
#pragma unroll
    for (int t = 0; t < kFewTokens; ++t) {
      const float y = s.delta[row][t];
#pragma unroll
      for (int c = 0; c < kFewColumns; ++c) sums[c] = fmaf(y, x[t][c], sums[c]);
    }
    if (task.vector_out) {
      form_store(task, out, true, task.accumulate, row0 + row, column, sums);
    } else if (row0 + row < task.m) {
#pragma unroll
      for (int c = 0; c < kFewColumns; ++c) {
        const std::int64_t entry = (row0 + row) * task.n + column + c * step;
        if (column + c * step >= task.n || entry < task.begin || entry >= task.end) continue;
        float* target = out + (entry - task.begin);
        *target = task.accumulate ? *target + sums[c] : sums[c];
      }
    }
  }
}

// --- Tiles ----------------------------------------------------------------------------------------------

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

/// Starts loading tokens [first, last), at most kFormDepth, of columns [column, column + Tile); zeros outside.
template <class Element, int Tile, int Threads>
FIMO_DEVICE void form_load(Element (&to)[kFormDepth][FormShared<Element, Tile>::kPitch], const Element* from,
                           std::int64_t token_stride, std::int64_t first, std::int64_t last, std::int64_t column,
                           std::int64_t columns, bool vector) {
  constexpr int kVector = 16 / static_cast<int>(sizeof(Element));
  if (vector) {
    for (int i = threadIdx.x; i < kFormDepth * Tile / kVector; i += Threads) {
      const int k = i / (Tile / kVector), c = i % (Tile / kVector) * kVector;
      const bool inside = first + k < last && column + c < columns;
      copy_async<16>(&to[k][c], inside ? from + (first + k) * token_stride + column + c : from, inside);
    }
    return;
  }
  for (int i = threadIdx.x; i < kFormDepth * Tile; i += Threads) {
    const int k = i / Tile, c = i % Tile;
    const bool inside = first + k < last && column + c < columns;
    const Element* source = inside ? from + (first + k) * token_stride + column + c : from;
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
#pragma unroll
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
  const std::int64_t block = blockIdx.x, tiles = task.row_tiles * task.column_tiles, example = block / tiles;
  const std::int64_t row0 = task.first_row + block % tiles / task.column_tiles * Tile;
  const std::int64_t column0 = task.first_column + block % task.column_tiles * Tile;
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.y) * part;
  const std::int64_t last = first + part < task.tokens ? first + part : task.tokens;
  const int steps = static_cast<int>((last - first + kFormDepth - 1) / kFormDepth);
  const Element *delta = task.delta + example * task.delta_batch, *a = task.a + example * task.a_batch;
  const auto load = [&](int step) {
    const std::int64_t token = first + static_cast<std::int64_t>(step) * kFormDepth;
    const int stage = step % kFormStages;
    if (step < steps) {
      form_load<Element, Tile, kThreads>(s.delta[stage], delta, task.delta_token, token, last, row0, task.m, vector_in);
      form_load<Element, Tile, kThreads>(s.a[stage], a, task.a_token, token, last, column0, task.n, vector_in);
    }
    copy_async_commit();
  };
  for (int step = 0; step < kFormStages - 1; ++step) load(step);

  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  const int warp_row = warp / kColumnWarps * kFormWarpRows, warp_column = warp % kColumnWarps * kFormWarpColumns;
  const std::int64_t size = task.end - task.begin;
  float* out = blockIdx.y == 0 ? task.out + example * task.stride : parts + ((blockIdx.y - 1) * examples + example) * size;
  bool add = blockIdx.y == 0 && task.accumulate;
  float sums[4][4][4] = {};
  for (int step = 0; step < steps; ++step) {
    copy_async_wait<kFormStages - 2>();
    __syncthreads();  // the stage is there, and nobody reads the one that the next load overwrites
    load(step + kFormStages - 1);
    form_multiply<Element, Tile>(s.delta[step % kFormStages], s.a[step % kFormStages], warp_row, warp_column, sums);
    if (step + 1 < steps && (step + 1) % (kFlushTokens / kFormDepth) != 0) continue;
#pragma unroll
    for (int i = 0; i < 8; ++i) {  // rows 4 g .. 4 g + 3 of every 32
      const int tile = i / 2, half = i % 2;
      const std::int64_t row = row0 + warp_row + 32 * (tile / 2) + 4 * g + 2 * (tile % 2) + half;
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        float x[4];
#pragma unroll
        for (int q = 0; q < 4; ++q) {
          x[q] = sums[tile][q][2 * half + c];
          sums[tile][q][2 * half + c] = 0.0f;
        }
        form_store(task, out, task.vector_out, add, row, column0 + warp_column + 8 * t + 4 * c, x);
      }
    }
    add = true;
  }
}

}  // namespace fimo::cuda
