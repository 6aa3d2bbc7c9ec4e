// SPDX-License-Identifier: Apache-2.0
/// \file
/// Gaussian sketches as matrix products whose first factor is generated into shared memory.
///
/// Floor: generation, about 41 instructions an entry (Philox 5, Box-Muller 30, its cut into parts 6), dim * sketch_dim entries
/// for each row tile; and on the tensor cores rows * dim * sketch_dim multiply-adds, times 6 for float32 (the products of 3 x 3
/// bfloat16 parts that count), 3 for bfloat16, 2 for float16. For dim 1,048,576 and k = 2,048 generating takes 3.0 ms of an
/// H100's issue slots; the products of 256 float32 rows 10.8 ms of its tensor cores at 62 %, of 32 rows 1.3 ms.
///
/// So few rows are bound by generation and many by products, and an entry must serve up to 256 rows. The 8 warps of a block
/// are row_groups x 8 / row_groups: a warp owns 64 columns and 32 rows, a block 512 / row_groups columns (its entries are made
/// once a stage) and 32 row_groups rows. One barrier a stage: of the two warps of a sub-partition one makes the next stage
/// before its products, the other after them. Sums and chains take 128 registers, hence one block an SM.
///
/// Column 128 T + 16 i + p comes from Philox part 16 T + p: so p is the row in a fragment, i the fragment. Coordinates: lane t
/// of a fragment holds 4 t ... 4 t + 3 of 16, in the entries and in x alike.
#pragma once

#include "cuda/dense_values.cuh"

namespace fimo::cuda {

/// The shape of a block's work, by the number of row groups (1, 2, 4 or 8).
struct NormalShape {
  int row_groups;

  FIMO_HOST_DEVICE constexpr int blocks16() const { return row_groups == 1 ? 1 : 2; }  // of 16 coordinates, in a stage
  FIMO_HOST_DEVICE constexpr int stage() const { return 16 * blocks16(); }
  FIMO_HOST_DEVICE constexpr int col_fragments() const { return 32 / row_groups; }  // of 16 columns
  FIMO_HOST_DEVICE constexpr int cols() const { return 16 * col_fragments(); }
  FIMO_HOST_DEVICE constexpr int row_fragments() const { return 4 * row_groups; }  // of 8 rows
  FIMO_HOST_DEVICE constexpr int rows() const { return 8 * row_fragments(); }
  /// In uint4 and in uint2, a lane's share of a fragment.
  FIMO_HOST_DEVICE constexpr int entries(int parts) const { return blocks16() * col_fragments() * parts * 32; }
  FIMO_HOST_DEVICE constexpr int values(int parts) const { return blocks16() * row_fragments() * parts * 32; }
  FIMO_HOST_DEVICE constexpr int bytes(int entry_parts, int value_parts) const {
    return 2 * (16 * entries(entry_parts) + 8 * values(value_parts));
  }
};

/// How many parts an entry has: float16 has 11 bits, bfloat16 8.
template <class Element>
constexpr int kNormalParts = DenseElement<Element>::kHalf ? 2 : 3;

template <class Element>
struct NormalShared {
  static constexpr int bytes(int row_groups) {
    return NormalShape{row_groups}.bytes(kNormalParts<Element>, DenseElement<Element>::kParts);
  }
  static constexpr int larger_of(int a, int b) { return a > b ? a : b; }
  uint4 memory[larger_of(larger_of(bytes(1), bytes(2)), larger_of(bytes(4), bytes(8))) / 16];

  FIMO_DEVICE uint4* entries(const NormalShape& shape, int buffer) {
    return memory + buffer * shape.entries(kNormalParts<Element>);
  }
  FIMO_DEVICE uint2* values(const NormalShape& shape, int buffer) {
    return reinterpret_cast<uint2*>(memory + 2 * shape.entries(kNormalParts<Element>)) +
           buffer * shape.values(DenseElement<Element>::kParts);
  }
};

/// Entries of two coordinates as operands; no part is zero or of the other sign, so that products with infinities are infinite.
template <class Element>
FIMO_DEVICE void split_entries(float g0, float g1, std::uint32_t (&parts)[kNormalParts<Element>]) {
  const float g[2] = {g0, g1};
  if constexpr (DenseElement<Element>::kHalf) {
    float high[2], low[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      high[i] = __uint_as_float(__float_as_uint(g[i]) & 0xFFFFE000u);
      low[i] = rounded_sum(g[i], -high[i]);
    }
    const __half2 highs = __floats2half2_rn(high[0], high[1]), lows = __floats2half2_rn(low[0], low[1]);
    parts[0] = *reinterpret_cast<const std::uint32_t*>(&highs);
    parts[1] = *reinterpret_cast<const std::uint32_t*>(&lows) | (parts[0] & 0x80008000u) | 0x00010001u;
  } else {
    // Cutting off the bits of the next smaller float leaves a rest that is not zero, and that the last part holds exactly.
    constexpr std::uint32_t kLess = DenseElement<Element>::kParts == 1 ? 1u : 0u;  // float32 has its own way (split)
    std::uint32_t high[2], middle[2], low[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      high[i] = (__float_as_uint(g[i]) - kLess) & 0xFFFF0000u;
      const float rest = rounded_sum(g[i], -__uint_as_float(high[i]));
      middle[i] = (__float_as_uint(rest) - kLess) & 0xFFFF0000u;
      low[i] = __float_as_uint(rounded_sum(rest, -__uint_as_float(middle[i])));
    }
    parts[0] = upper_halves(high[0], high[1]);
    parts[1] = upper_halves(middle[0], middle[1]);
    parts[2] = upper_halves(low[0], low[1]);
  }
}

/// The entries of a stage. A thread makes those of four coordinates and one row p of fragments: all eight fragments of 128
/// columns, or with 4 and 8 row groups four of them.
template <class Element>
FIMO_DEVICE void make_entries(const DenseTask& task, const NormalShape& shape, std::uint64_t first, std::int64_t col_tile,
                              uint4* entries) {
  constexpr int kParts = kNormalParts<Element>;
  const int p = (threadIdx.x & 1) * 8 + (threadIdx.x >> 3 & 7), t = threadIdx.x >> 1 & 3;
  const int block16 = static_cast<int>(threadIdx.x >> 6) % shape.blocks16();
  const int rest = static_cast<int>(threadIdx.x >> 6) / shape.blocks16();
  const bool whole = shape.row_groups <= 2;
  if (shape.row_groups == 8 && rest > 0) return;
  const std::int64_t tile = whole ? col_tile * (4 / shape.row_groups) + rest : shape.row_groups == 4 ? col_tile : col_tile / 2;
  const int half = shape.row_groups == 4 ? rest : static_cast<int>(col_tile % 2);
  const int first_word = whole ? 0 : 2 * half, words = whole ? 4 : 2;
  const int fragment = whole ? 8 * rest : shape.row_groups == 4 ? 0 : -4 * half;  // of number 0

  if (tile * 128 + first_word * 32 >= task.cols) return;
  PhiloxBlock block[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    block[i] = philox(first + static_cast<std::uint64_t>(16 * block16 + 4 * t + i), static_cast<std::uint32_t>(tile * 16 + p),
                      kStreamGaussian, task.seed);
  }
  auto* to = reinterpret_cast<uint2*>(entries) + block16 * shape.col_fragments() * kParts * 64 + (p % 8 * 4 + t) * 2 + p / 8;
#pragma unroll
  for (int w = 0; w < 4; ++w) {
    if (w < first_word || w >= first_word + words || tile * 128 + w * 32 >= task.cols) continue;
    float number[2][4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const NormalPair pair = normal_pair(block[i].word[w]);
      number[0][i] = pair.first;
      number[1][i] = pair.second;
    }
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      std::uint32_t low[kParts], high[kParts];
      split_entries<Element>(number[e][0], number[e][1], low);
      split_entries<Element>(number[e][2], number[e][3], high);
#pragma unroll
      for (int part = 0; part < kParts; ++part) {
        to[((fragment + 2 * w + e) * kParts + part) * 64] = make_uint2(low[part], high[part]);
      }
    }
  }
}

/// Brings x[rows of the tile, first : first + stage] into fragments; zeros beyond the rows and `end`. A warp brings 8 rows and
/// 16 coordinates at a time, a lane 4 coordinates of a row.
template <class Element>
struct NormalRows {
  using Values = DenseElement<Element>;
  static constexpr int kMost = 8;  // slots of a thread, with 8 row groups
  typename Values::Four held[kMost];

  FIMO_DEVICE void load(const DenseTask& task, const NormalShape& shape, std::int64_t row_first, std::int64_t first,
                        std::int64_t end) {
    const int lane = threadIdx.x % kWarp;
#pragma unroll
    for (int i = 0; i < kMost; ++i) {
      const int slot = i * 8 + threadIdx.x / kWarp, n = slot % shape.row_fragments(), block16 = slot / shape.row_fragments();
      if (block16 >= shape.blocks16()) break;
      const std::int64_t row = row_first + n * 8 + lane / 4, at = first + block16 * 16 + lane % 4 * 4;
      const std::int64_t left = row < task.rows ? end - at : 0;
      held[i] =
          Values::load(static_cast<const Element*>(task.x) + (left > 0 ? row * task.row_stride + at : 0), left, task.aligned);
    }
  }

  FIMO_DEVICE void store(const DenseTask& task, const NormalShape& shape, uint2* values) const {
    const int lane = threadIdx.x % kWarp;
#pragma unroll
    for (int i = 0; i < kMost; ++i) {
      const int slot = i * 8 + threadIdx.x / kWarp, n = slot % shape.row_fragments(), block16 = slot / shape.row_fragments();
      if (block16 >= shape.blocks16()) break;
      uint2 parts[Values::kParts];
      Values::split(held[i], task.scale, parts);
#pragma unroll
      for (int part = 0; part < Values::kParts; ++part) {
        values[((block16 * Values::kParts + part) * shape.row_fragments() + n) * kWarp + lane] = parts[part];
      }
    }
  }
};

/// chain += the products of a stage for the warp's 64 columns and 32 rows; the smallest products first.
template <class Element>
FIMO_DEVICE void multiply_normal(const NormalShape& shape, const uint4* entries, const uint2* values, float (&chain)[4][4][4]) {
  using Values = DenseElement<Element>;
  constexpr int kEntry = kNormalParts<Element>, kValue = Values::kParts;
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const int row_group = warp % shape.row_groups, col_group = warp / shape.row_groups;
#pragma unroll 1
  for (int block16 = 0; block16 < shape.blocks16(); ++block16) {
    uint2 b[kValue][4];
#pragma unroll
    for (int part = 0; part < kValue; ++part) {
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        b[part][n] = values[((block16 * kValue + part) * shape.row_fragments() + row_group * 4 + n) * kWarp + lane];
      }
    }
#pragma unroll
    for (int pair = 0; pair < 4; pair += 2) {
      uint4 a[2][kEntry];
#pragma unroll
      for (int m = 0; m < 2; ++m) {
#pragma unroll
        for (int part = 0; part < kEntry; ++part) {
          a[m][part] = entries[((block16 * shape.col_fragments() + col_group * 4 + pair + m) * kEntry + part) * kWarp + lane];
        }
      }
#pragma unroll
      for (int order = 2; order >= 0; --order) {  // products of parts i and order - i
#pragma unroll
        for (int i = 0; i < kEntry; ++i) {
          if (order - i < 0 || order - i >= kValue) continue;
#pragma unroll
          for (int n = 0; n < 4; ++n) {
#pragma unroll
            for (int m = 0; m < 2; ++m) {
              const uint4 v = a[m][i];
              const std::uint32_t fragment[4] = {v.x, v.z, v.y, v.w};
              const std::uint32_t rows[2] = {b[order - i][n].x, b[order - i][n].y};
              Values::mma(chain[pair + m][n], fragment, rows);
            }
          }
        }
      }
    }
  }
}

template <class Element>
__global__ void __launch_bounds__(kDenseThreads) normal_kernel(DenseTask task, NormalShape shape) {
  auto& memory = shared<NormalShared<Element>>();
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const DenseTile tile(task);
  const std::int64_t row_first = tile.row_tile * shape.rows();
  const std::int64_t my_row = row_first + warp % shape.row_groups * 32;
  const std::int64_t my_col = tile.col_tile * shape.cols() + warp / shape.row_groups * 64;
  const bool early = warp < 4, mine = my_row < task.rows && my_col < task.cols;
  float sums[4][4][4] = {}, chain[4][4][4] = {};
  const auto add_chain = [&] {
#pragma unroll
    for (int m = 0; m < 4; ++m) {
#pragma unroll
      for (int n = 0; n < 4; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          sums[m][n][i] += chain[m][n][i];
          chain[m][n][i] = 0.0f;
        }
      }
    }
  };

  // Iteration -1 only makes the first stage.
  int buffer = 1, length = 0;
  for (std::int64_t at = tile.begin - shape.stage(); at < tile.end; at += shape.stage(), buffer ^= 1) {
    const std::int64_t next = at + shape.stage();
#pragma unroll 1
    for (int turn = 0; turn < 2; ++turn) {
      if ((turn == 0) == early) {
        if (next >= tile.end) continue;
        NormalRows<Element> rows;
        rows.load(task, shape, row_first, next, tile.end);
        make_entries<Element>(task, shape, task.first + static_cast<std::uint64_t>(next), tile.col_tile,
                              memory.entries(shape, buffer ^ 1));
        rows.store(task, shape, memory.values(shape, buffer ^ 1));
      } else if (at >= tile.begin && mine) {
        multiply_normal<Element>(shape, memory.entries(shape, buffer), memory.values(shape, buffer), chain);
        length += shape.blocks16();
        if (length == 4) {  // of at most 6 products each
          add_chain();
          length = 0;
        }
      }
    }
    __syncthreads();
  }
  add_chain();

  const float scale = DenseElement<Element>::scale_of_sums(task.scale);
#pragma unroll
  for (int n = 0; n < 4; ++n) {
#pragma unroll
    for (int m = 0; m < 4; ++m) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        store_sum(task, tile, my_row + n * 8 + lane % 4 * 2 + i % 2, my_col + m * 16 + lane / 4 + i / 2 * 8,
                  sums[m][n][i] * scale);
      }
    }
  }
}

}  // namespace fimo::cuda
