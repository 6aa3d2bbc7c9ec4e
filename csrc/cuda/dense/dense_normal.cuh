// SPDX-License-Identifier: Apache-2.0
/// \file
/// Gaussian sketches as matrix products whose first factor is generated into shared memory.
///
/// Floor: generation, about 35 instructions an entry (Philox 5, Box-Muller 26, its cut into parts 4 to 7), dim * sketch_dim
/// entries for each row tile; and on the tensor cores rows * dim * sketch_dim multiply-adds, times 6 for float32 (the products
/// of 3 x 3 bfloat16 parts that count), 3 for bfloat16, 2 for float16. For dim 1,048,576 and k = 2,048 generating takes 2.6 ms
/// of an H100's issue slots; the products of 256 float32 rows 10.7 ms of its tensor cores at 62 %, of 32 rows 1.3 ms.
///
/// So few rows are bound by generation and many by products, and an entry must serve up to 256 rows. The 8 warps of a block
/// are row_groups x 8 / row_groups: a warp owns 64 columns and 32 rows, a block 512 / row_groups columns (its entries are made
/// once a stage) and 32 row_groups rows. One barrier a stage: of the two warps of a sub-partition one makes the next stage
/// before its products, the other after them. Sums and chains take 128 registers, hence one block an SM.
///
/// Column 128 T + 16 i + p comes from Philox part 16 T + p, i div 2 being the word. A warp's 64 columns are eight p of one T:
/// p is the row in a fragment, the pair of a word its two halves, the word the fragment. So a thread makes registers of
/// fragments side by side, and no Philox part is made twice. Coordinates: NormalShape::coordinate, in the entries and in x
/// alike.
#pragma once

#include "cuda/dense/dense_values.cuh"

namespace fimo::cuda {

/// How many parts an entry has: float16 has 11 bits, bfloat16 8.
template <class Element>
constexpr int kNormalParts = DenseElement<Element>::kHalf ? 2 : 3;

/// The shape of a block's work, by the number of row groups (1, 2, 4 or 8).
template <class Element, int kRowGroups>
struct NormalShape {
  using Values = DenseElement<Element>;
  static constexpr bool kCopies = Values::kParts == 1;  // nothing to convert: x goes to shared memory as it is
  static constexpr int kMostBlocks = kCopies ? 4 : 2;
  static constexpr int kBlocks16 = kRowGroups == 1 ? 1 : kRowGroups / 2 < kMostBlocks ? kRowGroups / 2 : kMostBlocks;
  static constexpr int kStage = 16 * kBlocks16;  // coordinates
  static constexpr bool kWide = kCopies && kBlocks16 > 1;
  static constexpr int kChainStages = (kCopies ? 8 : 4) / kBlocks16;  // of 2, 3 or 6 products a block
  static constexpr int kColGroups = 8 / kRowGroups;                   // of 64 columns
  static constexpr int kCols = 64 * kColGroups;
  static constexpr int kRowFragments = 4 * kRowGroups;  // of 8 rows
  static constexpr int kRows = 8 * kRowFragments;
  static constexpr int kDown = kRowFragments < 8 ? 1 : kRowFragments / 8;  // of a warp, when it brings x
  // Of 16 coordinates and 32 columns; where these are fewer than warps, of 16 columns of two words of a Philox part.
  static constexpr int kWords = 2 * kColGroups * kBlocks16 < 8 ? 2 : 4;
  static constexpr int kUnits = 2 * kColGroups * kBlocks16 * 4 / kWords;

  /// The first of four coordinates of lane t in a fragment. Wide: 16 bytes of a row serve two fragments.
  static FIMO_DEVICE int coordinate(int block16, int t) {
    return kWide ? block16 / 2 * 32 + t * 8 + block16 % 2 * 4 : block16 * 16 + t * 4;
  }

  struct Buffer {
    uint4 entries[kBlocks16][kColGroups][4][kNormalParts<Element>][kWarp];
    uint2 x[kBlocks16 / (kWide ? 2 : 1)][Values::kParts][kRowFragments][kWarp][kWide ? 2 : 1];
  };
  struct Shared {
    Buffer buffers[2];
    float4 raw[kCopies ? 1 : kBlocks16][kCopies ? 1 : kRowFragments][kWarp];  // float32: what is split next
  };
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
    parts[1] = *reinterpret_cast<const std::uint32_t*>(&lows) | masked_or(parts[0], 0x80008000u, 0x00010001u);
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

/// The first of 64 columns: those of half of the Philox parts of 128.
FIMO_DEVICE std::int64_t first_col(std::int64_t cols64) { return cols64 / 2 * 128 + cols64 % 2 * 8; }

/// The entries of a stage. A warp makes those of 16 coordinates and 32 columns at a time, a lane those of two coordinates and
/// of the eight columns of a Philox part: half of its lane's share of four fragments.
template <class Element, int kRowGroups>
FIMO_DEVICE void make_entries(const DenseTask& task, std::uint64_t first, std::int64_t col_tile,
                              typename NormalShape<Element, kRowGroups>::Buffer& buffer) {
  using Shape = NormalShape<Element, kRowGroups>;
  constexpr int kParts = kNormalParts<Element>;
  const int lane = threadIdx.x % kWarp, half = lane % 2, t = lane / 2 % 4;
#pragma unroll 1
  for (int unit = threadIdx.x / kWarp; unit < Shape::kUnits; unit += 8) {
    const int block16 = unit % Shape::kBlocks16, row = unit / Shape::kBlocks16 % 2 * 4 + lane / 8;
    const int group = unit / Shape::kBlocks16 / 2 % Shape::kColGroups;
    const int first_word = unit / Shape::kBlocks16 / 2 / Shape::kColGroups * Shape::kWords;  // no others: 0
    const std::int64_t cols64 = col_tile * Shape::kColGroups + group;
    if (first_col(cols64) >= task.cols) return;
    const std::uint64_t j = first + static_cast<std::uint64_t>(Shape::coordinate(block16, t) + 2 * half);
    const auto part = static_cast<std::uint32_t>(cols64 * 8 + row);
    const PhiloxBlock block[2] = {philox(j, part, kStreamGaussian, task.seed), philox(j + 1, part, kStreamGaussian, task.seed)};
    auto* to = reinterpret_cast<uint2*>(&buffer.entries[block16][group][first_word][0][row * 4 + t]) + half;
#pragma unroll
    for (int w = 0; w < Shape::kWords; ++w) {
      const bool later = Shape::kWords == 2 && first_word;
      const NormalPair a = normal_pair(later ? block[0].word[(w + 2) % 4] : block[0].word[w]);
      const NormalPair b = normal_pair(later ? block[1].word[(w + 2) % 4] : block[1].word[w]);
      std::uint32_t upper[kParts], lower[kParts];
      split_entries<Element>(a.first, b.first, upper);
      split_entries<Element>(a.second, b.second, lower);
#pragma unroll
      for (int i = 0; i < kParts; ++i) to[(w * kParts + i) * 2 * kWarp] = make_uint2(upper[i], lower[i]);
    }
  }
}

/// Starts bringing x[rows of the tile, first : first + stage], into fragments or, float32, as it is; zeros beyond the rows and
/// `end`. A warp brings 8 rows at a time, a lane 16 bytes of a row (with one row group of 16-bit types 8).
template <class Element, int kRowGroups>
FIMO_DEVICE void bring_rows(const DenseTask& task, std::int64_t row_first, std::int64_t first, std::int64_t end,
                            typename NormalShape<Element, kRowGroups>::Shared& memory, int buffer) {
  using Values = DenseElement<Element>;
  using Shape = NormalShape<Element, kRowGroups>;
  constexpr int kEach = Shape::kWide ? 8 : 4, kAcross = Shape::kStage / kEach / 4;
  // float32's registers are full.
  const int thread = static_cast<int>(Shape::kCopies ? threadIdx.x : fresh_thread());
  const int lane = thread % kWarp, warp = thread / kWarp;
  if (warp >= Shape::kRowFragments) return;
  const std::int64_t row = row_first + warp * 8 + lane / 4;
  const int rows = static_cast<int>(task.rows - row < Shape::kRows ? task.rows - row : Shape::kRows);
  const Element* x = static_cast<const Element*>(task.x) + row * task.row_stride + first + lane % 4 * kEach;
  const auto to = [&](int across, int fragment) {
    if constexpr (Shape::kCopies) {
      return &memory.buffers[buffer].x[across][0][fragment][lane][0];
    } else {
      return &memory.raw[across][fragment][lane];
    }
  };
  if (task.aligned && first + Shape::kStage <= end) {
#pragma unroll
    for (int down = 0; down < Shape::kDown; ++down, x += 64 * task.row_stride) {
#pragma unroll
      for (int across = 0; across < kAcross; ++across) {
        copy_async<kEach * sizeof(Element)>(to(across, down * 8 + warp), x + across * 4 * kEach, down * 64 < rows);
      }
    }
    return;
  }
  const std::int64_t left = end - first - lane % 4 * kEach;
#pragma unroll 1
  for (int down = 0; down < Shape::kDown; ++down, x += 64 * task.row_stride) {
#pragma unroll 1
    for (int across = 0; across < kAcross; ++across) {
#pragma unroll
      for (int i = 0; i < kEach; i += 4) {
        const int at = across * 4 * kEach + i;
        const auto four = Values::load(x + at, down * 64 < rows ? left - at : 0);
        if constexpr (Shape::kCopies) {
          to(across, down * 8 + warp)[i / 4] = four.bits;
        } else {
          *to(across, down * 8 + warp) = four.values;
        }
      }
    }
  }
}

/// float32: splits what this thread has brought.
template <int kRowGroups>
FIMO_DEVICE void split_rows(const DenseTask& task, typename NormalShape<float, kRowGroups>::Shared& memory, int buffer) {
  using Values = DenseElement<float>;
  using Shape = NormalShape<float, kRowGroups>;
  const int thread = static_cast<int>(fresh_thread()), lane = thread % kWarp, warp = thread / kWarp;
  if (warp >= Shape::kRowFragments) return;
#pragma unroll
  for (int down = 0; down < Shape::kDown; ++down) {
    float4 held[Shape::kBlocks16];  // read together: the compiler would wait for each
#pragma unroll
    for (int across = 0; across < Shape::kBlocks16; ++across) held[across] = memory.raw[across][down * 8 + warp][lane];
#pragma unroll
    for (int across = 0; across < Shape::kBlocks16; ++across) {
      uint2 parts[Values::kParts];
      Values::split({held[across]}, task.scale, parts);
#pragma unroll
      for (int part = 0; part < Values::kParts; ++part) {
        memory.buffers[buffer].x[across][part][down * 8 + warp][lane][0] = parts[part];
      }
    }
  }
}

/// chain += the products of a stage for the warp's 64 columns and 32 rows; the smallest products first.
template <class Element, int kRowGroups>
FIMO_DEVICE void multiply_normal(const typename NormalShape<Element, kRowGroups>::Buffer& buffer, float (&chain)[4][4][4]) {
  using Values = DenseElement<Element>;
  using Shape = NormalShape<Element, kRowGroups>;
  constexpr int kEntry = kNormalParts<Element>, kValue = Values::kParts;
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const int row_group = warp % kRowGroups, col_group = warp / kRowGroups;
#pragma unroll
  for (int block16 = 0; block16 < Shape::kBlocks16; ++block16) {
    uint2 b[kValue][4];
#pragma unroll
    for (int part = 0; part < kValue; ++part) {
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        const auto& from = buffer.x[Shape::kWide ? block16 / 2 : block16][part][row_group * 4 + n][lane];
        b[part][n] = from[Shape::kWide ? block16 % 2 : 0];
      }
    }
#pragma unroll
    for (int pair = 0; pair < 4; pair += 2) {  // eight products at a time that do not wait for each other
      uint4 a[2][kEntry];
#pragma unroll
      for (int m = 0; m < 2; ++m) {
#pragma unroll
        for (int part = 0; part < kEntry; ++part) a[m][part] = buffer.entries[block16][col_group][pair + m][part][lane];
      }
#pragma unroll
      for (int order = 2; order >= 0; --order) {  // products of parts i and order - i
#pragma unroll
        for (int i = 0; i < kEntry; ++i) {
          if (order - i < 0 || order - i >= kValue) continue;
#pragma unroll
          for (int m = 0; m < 2; ++m) {
            const std::uint32_t fragment[4] = {a[m][i].x, a[m][i].y, a[m][i].z, a[m][i].w};
#pragma unroll
            for (int n = 0; n < 4; ++n) {
              const std::uint32_t rows[2] = {b[order - i][n].x, b[order - i][n].y};
              Values::mma(chain[pair + m][n], fragment, rows);
            }
          }
        }
      }
    }
  }
}

template <class Element, int kRowGroups>
__global__ void __launch_bounds__(kDenseThreads) normal_kernel(DenseTask task) {
  using Shape = NormalShape<Element, kRowGroups>;
  auto& memory = shared<typename Shape::Shared>();
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const DenseTile tile(task);
  const std::int64_t row_first = tile.row_tile * Shape::kRows;
  const std::int64_t my_row = row_first + warp % kRowGroups * 32;
  const std::int64_t my_col = first_col(tile.col_tile * Shape::kColGroups + warp / kRowGroups);
  const bool early = warp < 4, mine = my_row < task.rows && my_col < task.cols;
  float sums[4][4][4] = {};

  const auto stages = static_cast<unsigned>((tile.end - tile.begin + Shape::kStage - 1) / Shape::kStage);
  const auto bring = [&](unsigned stage, int buffer) {
    if (stage >= stages) return;
    bring_rows<Element, kRowGroups>(task, row_first, tile.begin + std::int64_t{stage} * Shape::kStage, tile.end, memory,
                                    buffer);
    copy_async_commit();
  };
  if (!Shape::kCopies) bring(0, 0);
  for (unsigned next = 0; next <= stages;) {  // is made while the one before it is multiplied
    float chain[4][4][4] = {};
    int length = 0;
    do {
      const int making = static_cast<int>(next % 2);
      if (Shape::kCopies) bring(next, making);
#pragma unroll 1
      for (int turn = 0; turn < 2; ++turn) {
        if ((turn == 0) == early) {
          if (next == stages) continue;
          const std::int64_t first = tile.begin + std::int64_t{next} * Shape::kStage;
          make_entries<Element, kRowGroups>(task, task.first + static_cast<std::uint64_t>(opaque(first)), tile.col_tile,
                                            memory.buffers[making]);
          if constexpr (!Shape::kCopies) {
            copy_async_wait<0>();
            split_rows<kRowGroups>(task, memory, making);
            bring(next + 1, 0);
          }
        } else if (next > 0 && mine) {
          multiply_normal<Element, kRowGroups>(memory.buffers[making ^ 1], chain);
        }
      }
      if (Shape::kCopies) copy_async_wait<0>();
      __syncthreads();
    } while (++next <= stages && ++length < Shape::kChainStages);
#pragma unroll
    for (int m = 0; m < 4; ++m) {
#pragma unroll
      for (int n = 0; n < 4; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[m][n][i] += chain[m][n][i];
      }
    }
  }

  const float scale = DenseElement<Element>::scale_of_sums(task.scale);
#pragma unroll
  for (int n = 0; n < 4; ++n) {
    float scaled[16];
#pragma unroll
    for (int i = 0; i < 16; ++i) scaled[i] = sums[i / 4][n][i % 4] * scale;
    store_sums(task, tile, scaled,
               [&](int i) { return DensePlace{my_row + n * 8 + lane % 4 * 2 + i % 2, my_col + i / 2 * 16 + lane / 4}; });
  }
}

}  // namespace fimo::cuda
