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

#include "cuda/instructions.cuh"
#include "fimo_fast/tensor_view.h"

namespace fimo::cuda {

/// int32 sums of this depth do not overflow: products are at most 2^14.
constexpr std::int64_t kMaxInt8Depth = std::int64_t{1} << 16;

/// Types of elements, and of sums of their products.
struct Float32 {
  static constexpr DType kType = DType::kFloat32;
  static constexpr int kBytes = 4;
  using Sum = float;
};
struct BFloat16 {
  static constexpr DType kType = DType::kBFloat16;
  static constexpr int kBytes = 2;
  using Sum = float;
};
struct Float16 {
  static constexpr DType kType = DType::kFloat16;
  static constexpr int kBytes = 2;
  using Sum = float;
};
struct Int8 {
  static constexpr DType kType = DType::kInt8;
  static constexpr int kBytes = 1;
  using Sum = int;
};

/// Bytes of a row that one stage holds; depth is cut at multiples of it.
constexpr int kSliceBytes = 64;

/// Rows of an operand: row r is token r % tokens of example r / tokens. All in bytes.
struct TileRows {
  const char* data;
  std::int64_t rows, tokens, batch_stride, token_stride;
  int unit;  // what addresses are multiples of: 16, 4, or less (any element)

  /// Where row r begins, from data on.
  FIMO_DEVICE std::int64_t offset(std::int64_t r) const {
    return tokens == 1 ? r * batch_stride : r / tokens * batch_stride + r % tokens * token_stride;
  }
};

/// The rows of a tensor of `batch` x `tokens` rows.
inline TileRows tile_rows(const void* data, DType dtype, std::int64_t batch, std::int64_t tokens, std::int64_t batch_stride,
                          std::int64_t token_stride) {
  const std::int64_t size = dtype_size(dtype);
  const std::uint64_t bits = reinterpret_cast<std::uintptr_t>(data) |
                             static_cast<std::uint64_t>(batch > 1 ? batch_stride * size : 0) |
                             static_cast<std::uint64_t>(tokens > 1 ? token_stride * size : 0);
  return {static_cast<const char*>(data),
          batch * tokens,
          tokens,
          batch_stride * size,
          token_stride * size,
          bits % 16 == 0  ? 16
          : bits % 4 == 0 ? 4
                          : 1};
}
inline TileRows tile_rows(const ConstMatrixView& x) { return tile_rows(x.data, x.dtype, x.rows, 1, x.row_stride, 0); }
inline TileRows tile_rows(const ConstTensor3View& x) {
  return tile_rows(x.data, x.dtype, x.batch, x.tokens, x.batch_stride, x.token_stride);
}

/// Where piece `piece` (of 16 bytes) of row `row` of a slice lies.
FIMO_DEVICE int slice_offset(int row, int piece) { return row * kSliceBytes + ((piece ^ (row >> 1 & 3)) << 4); }

/// A thread's share of copying an operand's rows: one 16-byte piece of every kThreads / 4-th row. Where rows begin stands in
/// shared memory: registers are full of sums. In place of rows that do not exist comes the last one: what stands there reaches
/// only sums that do not exist, and copies need no condition.
template <class Element, int kRows, int kThreads>
class SliceCopy {
 public:
  /// Puts where byte `end` of the rows from `first` on is into `ends`.
  FIMO_DEVICE static void find_rows(std::int64_t* ends, const TileRows& x, std::int64_t first, std::int64_t end) {
    for (int i = static_cast<int>(threadIdx.x); i < kRows; i += kThreads) {
      ends[i] = x.offset(first + i < x.rows ? first + i : x.rows - 1) + end;
    }
  }

  FIMO_DEVICE SliceCopy(const std::int64_t* ends, const TileRows& x, int thread)
      : data_(x.data), ends_(ends), unit_(x.unit), row_(thread / 4), piece_(thread % 4) {}

  static constexpr int kCount = 4 * kRows / kThreads + (4 * kRows % kThreads != 0);

  /// Where this thread's pieces of the slice are from whose begin on `left` slices are left: all before the first copy, so that
  /// their loads do not wait for each other.
  FIMO_DEVICE void find(const char* (&pieces)[kCount], std::uint32_t left) const {
#pragma unroll
    for (int i = 0; i < kCount; ++i) pieces[i] = exists(i) ? from(i, left) : nullptr;
  }
  /// Copies whole pieces.
  FIMO_DEVICE void start(unsigned char* slice, const char* const (&pieces)[kCount]) const {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (exists(i)) copy_async_part<16>(slice + place(i), pieces[i], 16);
    }
  }

  /// Copies a slice of any rows, of which there are `bytes` bytes.
  FIMO_DEVICE void start_any(unsigned char* slice, std::uint32_t left, int bytes) const {
    const int rest = bytes - piece_ * 16, inside = rest < 0 ? 0 : rest < 16 ? rest : 16;
    if (unit_ == 16) {
#pragma unroll 1
      for (int i = 0; i < kCount; ++i) {
        if (exists(i)) copy_async_part<16>(slice + place(i), from(i, left), inside);
      }
    } else if (unit_ == 4) {
#pragma unroll 1
      for (int i = 0; i < kCount; ++i) {
        if (!exists(i)) continue;
#pragma unroll
        for (int word = 0; word < 4; ++word) {
          const int some = inside - 4 * word;
          copy_async_part<4>(slice + place(i) + 4 * word, from(i, left) + 4 * word, some < 0 ? 0 : some < 4 ? some : 4);
        }
      }
    } else if constexpr (Element::kBytes < 4) {
      copy_elements(slice, left, inside);
    }
  }

 private:
  static constexpr int kStep = kThreads / 4;

  FIMO_DEVICE int row(int i) const { return row_ + i * kStep; }
  /// Whether the slice has the thread's i-th row.
  FIMO_DEVICE bool exists(int i) const { return (i + 1) * kStep <= kRows || row(i) < kRows; }
  static_assert(kStep % 8 == 0, "so that the places of a piece are the same in all of a thread's rows");
  FIMO_DEVICE int place(int i) const { return slice_offset(row_, piece_) + i * kStep * kSliceBytes; }
  FIMO_DEVICE const char* from(int i, std::uint32_t left) const {
    return data_ + (ends_[row(i)] + piece_ * 16 - static_cast<std::int64_t>(left) * kSliceBytes);
  }

  /// For rows at any address: element by element, through registers.
  FIMO_DEVICE void copy_elements(unsigned char* slice, std::uint32_t left, int inside) const {
    constexpr int kSize = Element::kBytes;
#pragma unroll 1
    for (int i = 0; i < kCount; ++i) {
      if (!exists(i)) continue;
      std::uint32_t words[4] = {0, 0, 0, 0};
#pragma unroll
      for (int e = 0; e < 16; e += kSize) {
        if (e >= inside) continue;
        std::uint32_t element;
        if constexpr (kSize == 1) {
          element = *reinterpret_cast<const std::uint8_t*>(from(i, left) + e);
        } else {
          element = *reinterpret_cast<const std::uint16_t*>(from(i, left) + e);
        }
        words[e / 4] |= element << (8 * (e % 4));
      }
      *reinterpret_cast<uint4*>(slice + place(i)) = make_uint4(words[0], words[1], words[2], words[3]);
    }
  }

  const char* data_;
  const std::int64_t* ends_;
  int unit_, row_, piece_;
};

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
  /// any more when it is called: a second call needs a barrier before it. `same`: b's rows are a's, and are copied once.
  FIMO_DEVICE void run(Shared& shared, const TileRows& a, std::int64_t first_row, const TileRows& b, std::int64_t first_col,
                       std::int64_t begin, std::int64_t end, bool same = false) {
    using CopyA = SliceCopy<Element, kRows, kThreads>;
    using CopyB = SliceCopy<Element, kCols, kThreads>;
    // What is known of the slices stays in shared memory, and their number is small: registers are full of sums.
    const std::int64_t below = first_col + warp_col() < b.rows ? a.rows - first_row - warp_row() : 0;
    const int row_tiles = below <= 0 ? 0 : below < 16 * kRowTiles ? static_cast<int>((below + 15) / 16) : kRowTiles;
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
      multiply(slice + warp_row() * kSliceBytes, slice + ((same ? 0 : kRows) + warp_col()) * kSliceBytes, row_tiles);
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
  /// sums += the products of a slice, for the first row_tiles of this warp.
  FIMO_DEVICE void multiply(const unsigned char* a_rows, const unsigned char* b_rows, int row_tiles) {
    if constexpr (Element::kType == DType::kInt8) {
      if (row_tiles > 0) multiply_exact(a_rows, b_rows);
    } else {
      multiply_floats(a_rows, b_rows, row_tiles);
    }
  }

  /// Of floats. Fragments of all of b's rows stay in registers.
  FIMO_DEVICE void multiply_floats(const unsigned char* a_rows, const unsigned char* b_rows, int row_tiles) {
    constexpr int kTogether = 4;  // independent chains of products, for their latency
    static_assert(kColTiles % kTogether == 0, "whole groups");
    if (row_tiles == 0) return;
    Fragment<Element> b[kColTiles];
#pragma unroll
    for (int j = 0; j < kColTiles; ++j) {
      load_b(b[j], b_rows, j);
      b[j].split();
    }
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i) {
      if (i >= row_tiles) break;  // also bounds what the compiler moves ahead, and with it registers
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
