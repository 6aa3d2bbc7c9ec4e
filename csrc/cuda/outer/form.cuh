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

#include "cuda/device/entries.cuh"

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

/// The tile of a block: example, first row and column.
struct FormPlace {
  std::int64_t example, row, column;
};
template <class Element>
FIMO_DEVICE FormPlace form_place(const FormTask<Element>& task, unsigned block, int height, int width) {
  // A grid has fewer than 2^31 blocks, and divisions of 64 bits take four times as long.
  const auto columns = static_cast<unsigned>(task.column_tiles), tiles = static_cast<unsigned>(task.row_tiles) * columns;
  const unsigned example = block / tiles, tile = block % tiles;
  return {example, task.first_row + static_cast<std::int64_t>(tile / columns) * height,
          task.first_column + static_cast<std::int64_t>(tile % columns) * width};
}

/// out[row, column .. column + 3] (+)= x.
template <class Task>
FIMO_DEVICE void form_store(const Task& task, float* out, bool vector, bool add, std::int64_t row, std::int64_t column,
                            const float (&x)[4]) {
  const std::int64_t entry = row * task.n + column;
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

template <int kTokens>
struct FormFewShared {
  float delta[kFewMaxRows][kTokens];
};

/// Grid: examples x row tiles x column tiles. A row of threads covers `lanes_x` x 4 columns; the block has
/// kFewThreads / lanes_x such rows, which take the `rows` rows of the tile in turn. At most kTokens tokens.
template <class Element, int kTokens>
__global__ void __launch_bounds__(kFewThreads) form_few_kernel(FormTask<Element> task, int lanes_x, int rows) {
  auto& s = shared<FormFewShared<kTokens>>();
  const FormPlace at = form_place(task, blockIdx.x, rows, lanes_x * kFewColumns);
  const std::int64_t row0 = at.row, column0 = at.column, example = at.example;
  const int tokens = static_cast<int>(task.tokens);
  const Element* delta = task.delta + example * task.delta_batch;
  for (int i = threadIdx.x; i < rows * kTokens; i += kFewThreads) {
    const int row = kTokens == 1 ? i : i % rows, t = kTokens == 1 ? 0 : i / rows;
    const bool inside = t < tokens && row0 + row < task.m;
    s.delta[row][t] = inside ? to_float(delta[t * task.delta_token + row0 + row]) : 0.0f;
  }
  // Neighbouring lanes own neighbouring columns: four each where stores take 16 bytes, else one each, four times.
  const int lane = threadIdx.x % lanes_x, step = task.vector_out ? 1 : lanes_x;
  const std::int64_t column = column0 + (task.vector_out ? lane * kFewColumns : lane);
  const Element* a = task.a + example * task.a_batch;
  float x[kTokens][kFewColumns];
#pragma unroll
  for (int t = 0; t < kTokens; ++t) {
#pragma unroll
    for (int c = 0; c < kFewColumns; ++c) {
      const bool inside = t < tokens && column + c * step < task.n;
      x[t][c] = inside ? to_float(a[t * task.a_token + column + c * step]) : 0.0f;
    }
  }
  __syncthreads();
  float* out = task.out + example * task.stride;
  for (int row = threadIdx.x / lanes_x; row < rows; row += kFewThreads / lanes_x) {
    float sums[kFewColumns] = {};
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      const float y = s.delta[row][t];
#pragma unroll
      for (int c = 0; c < kFewColumns; ++c) sums[c] = fmaf(y, x[t][c], sums[c]);
    }
    if (task.vector_out) {
      form_store(task, out, true, task.accumulate, row0 + row, column, sums);
    } else {
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

}  // namespace fimo::cuda
