// SPDX-License-Identifier: Apache-2.0
/// \file
/// SRHT with blocks shorter than 32 or longer than 16384 coordinates: signed copies of as many blocks as the workspace holds,
/// transformed there, four stages a pass, and added.
///
/// Not tuned: it moves 8 + 8 ceil(log2(L) / 4) + 4 bytes an element through memory where 4 would do. Random bits are generated
/// once for 128 elements on the way in, and for 32 on the way out, and handed around in a warp.
#pragma once

#include "cuda/device/hadamard.cuh"
#include "fimo_fast/random.h"

namespace fimo::cuda {

constexpr int kPassThreads = 128;
constexpr int kCopyCoordinates = kWarp * 128;  // of a warp

/// Some blocks of some rows.
struct SrhtBlocks {
  float* work;  // [rows, count, block]
  std::int64_t rows;
  std::int64_t first, count;  // blocks
  std::int64_t block;
  std::uint64_t seed;
};

FIMO_DEVICE std::uint32_t word_of(const PhiloxBlock& bits, int w) {
  return w < 2 ? (w == 0 ? bits.word[0] : bits.word[1]) : (w == 2 ? bits.word[2] : bits.word[3]);
}

/// work = ± x, zeros where the slice [begin, end) of coordinates does not reach. x: the first of the rows.
template <class Element>
__global__ void __launch_bounds__(kPassThreads)
    srht_copy_kernel(const SrhtBlocks blocks, const Element* x, std::int64_t row_stride, std::int64_t begin, std::int64_t end,
                     std::int64_t warps_a_row) {
  const std::int64_t warp = static_cast<std::int64_t>(blockIdx.x) * (kPassThreads / kWarp) + threadIdx.x / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const std::int64_t row = warp / warps_a_row;
  if (row >= blocks.rows) return;
  const std::int64_t low = blocks.first * blocks.block, size = blocks.count * blocks.block;
  const std::int64_t start = low / 128 * 128 + warp % warps_a_row * kCopyCoordinates;
  const PhiloxBlock bits = philox(static_cast<std::uint64_t>(start / 128 + lane), 0, kStreamSrhtIn, blocks.seed);
  for (int i = 0; i < kCopyCoordinates / kWarp; ++i) {
    const std::uint32_t word = __shfl_sync(kAllLanes, word_of(bits, i % 4), i / 4);
    const std::int64_t j = start + i * kWarp + lane;
    if (j < low || j >= low + size) continue;
    const float value = j >= begin && j < end ? static_cast<float>(x[row * row_stride + (j - begin)]) : 0.0f;
    blocks.work[row * size + (j - low)] = word >> lane & 1 ? -value : value;
  }
}

/// A thread transforms R elements 2^low apart.
template <int R>
FIMO_DEVICE void srht_pass(float* work, std::int64_t thread, int low) {
  const std::int64_t below = thread & ((std::int64_t{1} << low) - 1);
  float* x = work + (thread - below) * R + below;
  float v[R];
#pragma unroll
  for (int i = 0; i < R; ++i) v[i] = x[static_cast<std::int64_t>(i) << low];
  hadamard_registers(v);
#pragma unroll
  for (int i = 0; i < R; ++i) x[static_cast<std::int64_t>(i) << low] = v[i];
}

/// The stages of strides 2^low, ..., 2^(low + stages - 1), over `size` elements.
__global__ void __launch_bounds__(kPassThreads) srht_pass_kernel(float* work, std::int64_t size, int low, int stages) {
  const std::int64_t thread = static_cast<std::int64_t>(blockIdx.x) * kPassThreads + threadIdx.x;
  if (thread >= size >> stages) return;
  switch (stages) {
    case 1: return srht_pass<2>(work, thread, low);
    case 2: return srht_pass<4>(work, thread, low);
    case 3: return srht_pass<8>(work, thread, low);
    default: return srht_pass<16>(work, thread, low);
  }
}

/// out[part, row, c] (+)= scale * sum over the part's blocks of ± work[row, block, rows[c]]. A warp has 32 neighbouring c.
__global__ void __launch_bounds__(kPassThreads)
    srht_sum_kernel(const SrhtBlocks blocks, const std::int32_t* rows, std::int64_t sketch_dim, float scale, std::int64_t parts,
                    float* out, std::int64_t out_stride) {
  const std::int64_t warps = (sketch_dim + kWarp - 1) / kWarp;
  std::int64_t warp = static_cast<std::int64_t>(blockIdx.x) * (kPassThreads / kWarp) + threadIdx.x / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const std::int64_t c0 = warp % warps * kWarp, c = c0 + lane;
  const std::int64_t row = warp / warps % blocks.rows, part = warp / warps / blocks.rows;
  if (part >= parts) return;
  const std::int64_t first = blocks.count * part / parts, last = blocks.count * (part + 1) / parts;
  const std::int64_t calls = (sketch_dim + 127) / 128;
  const std::int64_t at = c < sketch_dim ? (rows ? rows[c] : c) : 0;
  const float* work = blocks.work + row * blocks.count * blocks.block + at;
  float sum = 0.0f;
  for (std::int64_t b = first; b < last; b += kWarp) {
    const std::uint64_t index = static_cast<std::uint64_t>((blocks.first + b + lane) * calls + c0 / 128);
    const PhiloxBlock bits = philox(index, 0, kStreamSrhtOut, blocks.seed);
    const std::uint32_t word = word_of(bits, static_cast<int>(c0 / kWarp % 4));
    const int count = static_cast<int>(last - b < kWarp ? last - b : kWarp);
    for (int i = 0; i < count; ++i) {
      const float value = work[(b + i) * blocks.block];
      sum += __shfl_sync(kAllLanes, word, i) >> lane & 1 ? -value : value;
    }
  }
  if (c >= sketch_dim) return;
  float* target = out + (part * blocks.rows + row) * out_stride + c;
  *target = parts == 1 ? *target + sum * scale : sum * scale;
}

}  // namespace fimo::cuda
