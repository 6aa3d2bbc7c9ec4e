// SPDX-License-Identifier: Apache-2.0
/// \file
/// A block's tile of a matrix product, sums[i, j] = sum_k a[i, k] b[j, k], on tensor cores: operands are rows whose elements
/// are contiguous along k, in float32, bfloat16, float16 or int8.
///
/// The depth goes through shared memory in slices of 64 bytes a row, kStages of them under way. To the copies and to ldmatrix a
/// slice is bytes: 32 bytes are one step of mma (16 bfloat16, 8 TF32 or 32 int8) with the same fragments in every type. The
/// four 16-byte pieces of a row change places by its number, so neither the copies nor ldmatrix meet in a bank.
///
/// Floor of a slice of a 128 x 256 tile of 16 bits, one block of 8 warps of 64 x 64 an SM: 512 mma at 62 % of the peak rate are
/// 832 clocks; shared memory takes (8 warps x 128 + 384) x 64 bytes and the rows' ends, 800 clocks; the L2 cache 24 KB, 1000
/// clocks at 24 bytes a clock, which is therefore the limit. int8: 256 x 160, 26 KB for 1.25 times the products. float32: 128 x
/// 64, six times the mma time, bound by mma. A warp alone takes 920 clocks (16 bits), 810 (int8), 1420 (float32) for a slice.
///
/// Accuracy: the sums of tensor cores are cut, not rounded, so they run over one slice only (16 to 32 products); slices are
/// added in float32. A float32 is the sum of two TF32 (relative error 2^-22), of which the three larger products count. int8
/// sums are exact up to kMaxInt8Depth.
#pragma once

#include "cuda/device/slice_copy.cuh"

namespace fimo::cuda {

/// int32 sums of this depth do not overflow: products are at most 2^14.
constexpr std::int64_t kMaxInt8Depth = std::int64_t{1} << 16;

/// Four registers of a fragment; of a float32 two TF32 whose sum it is.
template <class Element>
struct Fragment {
  std::uint32_t high[4];

  FIMO_DEVICE void split() {}
};
template <>
struct Fragment<Float32> {
  std::uint32_t high[4], low[4];

  FIMO_DEVICE void split() {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float x = __uint_as_float(high[i]);
      high[i] = (high[i] + 0x1000u) & 0xFFFFE000u;  // rounded
      low[i] = __float_as_uint(x - __uint_as_float(high[i]));
    }
  }
};

/// Products of fragments that make up one: of the halves of float32 three.
template <class Element>
constexpr int kTerms = Element::kType == DType::kFloat32 ? 3 : 1;

/// d += term `term` of a b, for step 0 or 1 of a slice, whose part of b is in registers 2 step and 2 step + 1.
template <class Element>
FIMO_DEVICE void tile_mma(typename Element::Sum (&d)[4], const Fragment<Element>& a, const Fragment<Element>& b, int step,
                          int term) {
  const std::uint32_t high[2] = {b.high[2 * step], b.high[2 * step + 1]};
  if constexpr (Element::kType == DType::kBFloat16) {
    mma_bf16(d, a.high, high);
  } else if constexpr (Element::kType == DType::kFloat16) {
    mma_half(d, a.high, high);
  } else if constexpr (Element::kType == DType::kInt8) {
    mma_int8(d, a.high, high);
  } else {
    const std::uint32_t low[2] = {b.low[2 * step], b.low[2 * step + 1]};
    mma_tf32(d, term == 0 ? a.low : a.high, term == 1 ? low : high);
  }
}

/// The product of a block of kWarpRows x kWarpCols warps, each with kRowTiles x kColTiles tiles of 16 x 8 in registers;
/// kBlocks of them share a multiprocessor.
template <class Element_, int kWarpRows, int kWarpCols, int kRowTiles_, int kColTiles_, int kStages, int kBlocks_>
struct TileProduct {
  using Element = Element_;
  static constexpr int kBlocks = kBlocks_;
  static constexpr int kRowTiles = kRowTiles_, kColTiles = kColTiles_;
  static constexpr int kThreads = kWarp * kWarpRows * kWarpCols;
  static constexpr int kRows = 16 * kRowTiles * kWarpRows, kCols = 8 * kColTiles * kWarpCols;
  using Sum = typename Element::Sum;

  struct Shared {
    alignas(128) unsigned char slices[kStages][(kRows + kCols) * kSliceBytes];
    std::int64_t ends[kRows + kCols];  // of rows, in bytes from the operands' data, where the last slice ends
    std::uint32_t ragged;              // that many slices at the end are not made of whole pieces
    int tail;                          // bytes of the last one
  };

  Sum sums[kRowTiles][kColTiles][4];

  FIMO_DEVICE void clear() {
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
      for (int j = 0; j < kColTiles; ++j) {
#pragma unroll
        for (int k = 0; k < 4; ++k) sums[i][j][k] = 0;
      }
    }
  }

  /// sums += the products of the kRows rows of a from first_row and the kCols rows of b from first_col, over the bytes
  /// [begin, end) of the depth; begin is a multiple of kSliceBytes. All threads of the block take part. Nobody may use `shared`
  /// any more when it is called: a second call needs a barrier before it. `same`: b's rows are a's, and are copied once. Of
  /// this warp's tiles of rows only those in [first_tile, last_tile) are wanted.
  FIMO_DEVICE void run(Shared& shared, const TileRows& a, std::int64_t first_row, const TileRows& b, std::int64_t first_col,
                       std::int64_t begin, std::int64_t end, bool same = false, int first_tile = 0, int last_tile = kRowTiles) {
    using CopyA = SliceCopy<Element, kRows, kThreads>;
    using CopyB = SliceCopy<Element, kCols, kThreads>;
    // What is known of the slices stays in shared memory, and their number is small: registers are full of sums.
    const std::int64_t below = first_col + warp_col() < b.rows ? a.rows - first_row - warp_row() : 0;
    const int row_tiles = below <= 0 ? 0 : below < 16 * last_tile ? static_cast<int>((below + 15) / 16) : last_tile;
    std::uint32_t slices = end > begin ? static_cast<std::uint32_t>((end - begin + kSliceBytes - 1) / kSliceBytes) : 0;
    const std::int64_t slices_end = begin + static_cast<std::int64_t>(slices) * kSliceBytes;
    CopyA::find_rows(shared.ends, a, first_row, slices_end);
    CopyB::find_rows(shared.ends + kRows, b, first_col, slices_end);
    if (threadIdx.x == 0) {
      shared.tail = kSliceBytes - static_cast<int>(slices_end - end);
      shared.ragged = a.unit != 16 || b.unit != 16 ? slices : slices_end > end ? 1 : 0;
    }
    __syncthreads();
    const auto start = [&](int stage, std::uint32_t left) {
      const int thread = static_cast<int>(fresh_thread());
      const CopyA copy_a(shared.ends, a, thread);
      const CopyB copy_b(shared.ends + kRows, b, thread);
      unsigned char *to_a = shared.slices[stage], *to_b = to_a + kRows * kSliceBytes;
      if (left > shared.ragged) {
        const char *from_a[CopyA::kCount], *from_b[CopyB::kCount];
        copy_a.find(from_a, left);
        if (!same) copy_b.find(from_b, left);
        copy_a.start(to_a, from_a);
        if (!same) copy_b.start(to_b, from_b);
      } else if (left > 0) {
        const int bytes = left > 1 ? kSliceBytes : shared.tail;
        copy_a.start_any(to_a, left, bytes);
        if (!same) copy_b.start_any(to_b, left, bytes);
      }
      copy_async_commit();
    };
#pragma unroll
    for (int stage = 0; stage < kStages - 1; ++stage) {
      start(stage, slices > static_cast<unsigned>(stage) ? slices - static_cast<unsigned>(stage) : 0);
    }
    int stage = 0;
#pragma unroll 1
    for (; slices > 0; --slices) {
      copy_async_wait<kStages - 2>();
      __syncthreads();  // this slice is there, and nobody reads the previous one any more
      start(stage == 0 ? kStages - 1 : stage - 1, slices >= kStages ? slices - (kStages - 1) : 0);
      const unsigned char* slice = shared.slices[stage];
      multiply(slice + warp_row() * kSliceBytes, slice + ((same ? 0 : kRows) + warp_col()) * kSliceBytes, first_tile,
               row_tiles);
      stage = stage == kStages - 1 ? 0 : stage + 1;
    }
  }

  /// visit(row, col, sum) for this thread's sums, by their place in the tile.
  template <class Visit>
  FIMO_DEVICE void each(const Visit& visit) const {
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
      for (int j = 0; j < kColTiles; ++j) each_of(i, j, visit);
    }
  }

  /// For the four of tile (i, j) of this warp: k = 0 and 1 are side by side, 2 and 3 eight rows below.
  template <class Visit>
  FIMO_DEVICE void each_of(int i, int j, const Visit& visit) const {
    const int lane = static_cast<int>(threadIdx.x) % kWarp, row = warp_row() + lane / 4, col = warp_col() + lane % 4 * 2;
#pragma unroll
    for (int k = 0; k < 4; ++k) visit(row + 16 * i + k / 2 * 8, col + 8 * j + k % 2, sums[i][j][k]);
  }

  /// The first row and column of this warp. Warps of one row are on different quarters of the SM: few rows keep all busy.
  FIMO_DEVICE static int warp_row() { return static_cast<int>(threadIdx.x) / kWarp / kWarpCols * (16 * kRowTiles); }
  FIMO_DEVICE static int warp_col() { return static_cast<int>(threadIdx.x) / kWarp % kWarpCols * (8 * kColTiles); }

 private:
  FIMO_DEVICE static void load_a(Fragment<Element>& a, const unsigned char* a_rows, int i, int step) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    load_matrices(a.high, a_rows + 16 * i * kSliceBytes + slice_offset(lane % 16, 2 * step + lane / 16));
    a.split();
  }
  FIMO_DEVICE static void load_b(Fragment<Element>& b, const unsigned char* b_rows, int j) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    load_matrices(b.high, b_rows + 8 * j * kSliceBytes + slice_offset(lane % 8, lane / 8));
  }
  /// sums += the products of a slice, for the row tiles [first, last) of this warp; int8: for all, if any.
  FIMO_DEVICE void multiply(const unsigned char* a_rows, const unsigned char* b_rows, int first, int last) {
    if constexpr (Element::kType == DType::kInt8) {
      if (last > 0) multiply_exact(a_rows, b_rows);
    } else {
      multiply_floats(a_rows, b_rows, first, last);
    }
  }

  /// Of floats. Fragments of all of b's rows stay in registers.
  FIMO_DEVICE void multiply_floats(const unsigned char* a_rows, const unsigned char* b_rows, int first, int last) {
    constexpr int kTogether = 4;  // independent chains of products, for their latency
    static_assert(kColTiles % kTogether == 0, "whole groups");
    if (first >= last) return;
    Fragment<Element> b[kColTiles];
#pragma unroll
    for (int j = 0; j < kColTiles; ++j) {
      load_b(b[j], b_rows, j);
      b[j].split();
    }
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i) {
      if (i < first) continue;
      if (i >= last) break;  // also bounds what the compiler moves ahead, and with it registers
      Fragment<Element> a[2];
#pragma unroll
      for (int step = 0; step < 2; ++step) load_a(a[step], a_rows, i, step);
#pragma unroll
      for (int j0 = 0; j0 < kColTiles; j0 += kTogether) {
        Sum part[kTogether][4] = {};
#pragma unroll
        for (int m = 0; m < 2 * kTerms<Element>; ++m) {
          const int step = m / kTerms<Element>;
#pragma unroll
          for (int j = 0; j < kTogether; ++j) tile_mma<Element>(part[j], a[step], b[j0 + j], step, m % kTerms<Element>);
        }
#pragma unroll
        for (int j = 0; j < kTogether; ++j) {
#pragma unroll
          for (int k = 0; k < 4; ++k) sums[i][j0 + j][k] += part[j][k];
        }
      }
    }
  }

  /// Of int8. Fragments of all of a's rows stay in registers.
  FIMO_DEVICE void multiply_exact(const unsigned char* a_rows, const unsigned char* b_rows) {
    Fragment<Element> a[kRowTiles][2];
#pragma unroll
    for (int i = 0; i < 2 * kRowTiles; ++i) load_a(a[i / 2][i % 2], a_rows, i / 2, i % 2);
#pragma unroll
    for (int j = 0; j < kColTiles; ++j) {
      Fragment<Element> b;
      load_b(b, b_rows, j);
#pragma unroll
      for (int i = 0; i < 2 * kRowTiles; ++i)
        tile_mma<Element>(sums[i % kRowTiles][j], a[i % kRowTiles][i / kRowTiles], b, i / kRowTiles, 0);
    }
  }
};

/// The tile for many rows on both sides: 128 x 256 of 16 bits, 256 x 160 of int8, which needs no sums of slices, and 128 x 64
/// of float32, whose halves take twice the registers.
template <class Element>
struct WideTileOf {
  using Tile = TileProduct<Element, 2, 4, 4, 8, 4, 1>;
};
template <>
struct WideTileOf<Int8> {
  using Tile = TileProduct<Int8, 4, 2, 4, 10, 4, 1>;
};
template <>
struct WideTileOf<Float32> {
  using Tile = TileProduct<Float32, 2, 2, 4, 4, 4, 3>;
};
template <class Element>
using WideTile = typename WideTileOf<Element>::Tile;
/// The tile where a product has few: 64 x 64.
template <class Element>
using SmallTile = TileProduct<Element, 2, 2, 2, 4, 4, 4>;
/// The tile for at most 16 rows of a, bound by reading b: 16 x 256, with 50 KB under way in each of two blocks.
template <class Element>
using FlatTile = TileProduct<Element, 1, 8, 1, 4, 4, 2>;

}  // namespace fimo::cuda
