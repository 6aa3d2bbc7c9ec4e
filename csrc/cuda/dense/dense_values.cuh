// SPDX-License-Identifier: Apache-2.0
/// \file
/// What the kernels of dense sketches share: their arguments, the row values as operands of tensor cores, and normal numbers.
///
/// Values are exact on the tensor cores: bfloat16 and float16 as they are, float32 as a sum of three bfloat16, cut off after 8
/// bits each. Only sums round. Tensor cores round sums towards zero, a bias that grows with the length of a chain, so chains
/// are short: after at most 24 products they are added to sums in registers, by additions that round to nearest.
#pragma once

#include "cuda/device/entries.cuh"

namespace fimo::cuda {

constexpr int kDenseThreads = 256;

/// One kernel's part of a sketch: rows [0, rows) of x and all columns of the sketch.
struct DenseTask {
  const void* x;
  std::int64_t rows, dim, row_stride;
  std::int64_t cols;          // of the sketch
  std::uint64_t first, seed;  // the coordinate of x[:, 0]
  std::int64_t part_length;   // coordinates of a part, a multiple of the stage's
  std::int64_t col_tiles, row_tiles;
  float scale;
  bool aligned;   // rows begin at multiples of 16 bytes
  bool add;       // one part: add to target; otherwise store
  float* target;  // [parts, rows, cols]
  std::int64_t target_row_stride, target_part_stride;
};

/// The block's tile: blocks that share rows and coordinates run side by side, so that x is read from memory once.
struct DenseTile {
  std::int64_t col_tile, row_tile, part, begin, end;

  FIMO_DEVICE explicit DenseTile(const DenseTask& task) {
    const std::int64_t block = blockIdx.x;
    col_tile = block % task.col_tiles;
    row_tile = block / task.col_tiles % task.row_tiles;
    part = block / task.col_tiles / task.row_tiles;
    begin = part * task.part_length;
    end = begin + task.part_length < task.dim ? begin + task.part_length : task.dim;
  }
};

/// Row and column of a sum.
struct DensePlace {
  std::int64_t row, col;
};

/// Stores the sums, or adds them, each to place(i): what they are added to is loaded at once, for loads that wait for stores
/// take a round trip each.
template <int kCount, class Place>
FIMO_DEVICE void store_sums(const DenseTask& task, const DenseTile& tile, float (&sums)[kCount], const Place& place) {
  float* const target = task.target + tile.part * task.target_part_stride;
  if (task.add) {
    float old[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const DensePlace at = place(i);
      old[i] = at.row < task.rows && at.col < task.cols ? target[at.row * task.target_row_stride + at.col] : 0.0f;
    }
#pragma unroll
    for (int i = 0; i < kCount; ++i) sums[i] += old[i];
  }
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    const DensePlace at = place(i);
    if (at.row < task.rows && at.col < task.cols) target[at.row * task.target_row_stride + at.col] = sums[i];
  }
}

/// The upper halves of two floats: bfloat16 cut off from them.
FIMO_DEVICE std::uint32_t upper_halves(std::uint32_t low, std::uint32_t high) { return __byte_perm(low, high, 0x7632); }

/// How a type's values become operands: four consecutive elements as kParts times two registers.
template <class Element>
struct DenseElement {  // bfloat16, float16
  static constexpr int kParts = 1;
  static constexpr bool kHalf = std::is_same_v<Element, __half>;
  static constexpr std::uint32_t kOnes = kHalf ? 0x3C003C00u : 0x3F803F80u;
  struct Four {
    uint2 bits;
  };

  static FIMO_DEVICE Four load(const Element* from, std::int64_t left) {
    const auto* bits = reinterpret_cast<const unsigned short*>(from);
    std::uint32_t v[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) v[i] = i < left ? bits[i] : 0u;
    return {{v[0] | v[1] << 16, v[2] | v[3] << 16}};
  }
  static FIMO_DEVICE float scale_of_sums(float scale) { return scale; }

  static FIMO_DEVICE void mma(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
    if constexpr (kHalf) {
      mma_half(d, a, b);
    } else {
      mma_bf16(d, a, b);
    }
  }
};

template <>
struct DenseElement<float> {
  static constexpr int kParts = 3;
  static constexpr bool kHalf = false;
  static constexpr std::uint32_t kOnes = 0x3F803F80u;
  struct Four {
    float4 values;
  };

  static FIMO_DEVICE Four load(const float* from, std::int64_t left, bool aligned = false) {
    if (aligned && left >= 4) return {*reinterpret_cast<const float4*>(from)};
    float v[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) v[i] = i < left ? from[i] : 0.0f;
    return {{v[0], v[1], v[2], v[3]}};
  }
  /// Scaled, as three bfloat16. Infinities and NaN are in the last part alone: with other parts beside them, products with
  /// entries that have parts would be NaN, not infinite.
  static FIMO_DEVICE void split(const Four& four, float scale, uint2 (&parts)[kParts]) {
    const float x[4] = {four.values.x, four.values.y, four.values.z, four.values.w};
    std::uint32_t high[4], middle[4], low[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float value = rounded_product(x[i], scale);
      const std::uint32_t mask = fabsf(value) <= 3.402823466e38f ? 0xFFFF0000u : 0u;
      high[i] = __float_as_uint(value) & mask;
      const float rest = rounded_sum(value, -__uint_as_float(high[i]));
      middle[i] = __float_as_uint(rest) & mask;
      low[i] = __float_as_uint(rounded_sum(rest, -__uint_as_float(middle[i])));
    }
    parts[0] = {upper_halves(high[0], high[1]), upper_halves(high[2], high[3])};
    parts[1] = {upper_halves(middle[0], middle[1]), upper_halves(middle[2], middle[3])};
    parts[2] = {upper_halves(low[0], low[1]), upper_halves(low[2], low[3])};
  }
  static FIMO_DEVICE float scale_of_sums(float) { return 1.0f; }

  static FIMO_DEVICE void mma(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) { mma_bf16(d, a, b); }
};

}  // namespace fimo::cuda
