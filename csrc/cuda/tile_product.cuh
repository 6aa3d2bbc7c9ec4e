// SPDX-License-Identifier: Apache-2.0
/// \file
/// A block's tile of a matrix product, sums[i, j] = sum_k a[i, k] b[j, k], on tensor cores: operands are rows whose elements
/// are contiguous along k, in float32, bfloat16, float16 or int8.
///
/// The depth goes through shared memory in slices of 64 bytes a row, kStages of them under way. To the copies and to ldmatrix a
/// slice is bytes: 32 bytes are one step of mma (16 bfloat16, 8 TF32 or 32 int8) with the same fragments in every type. The
/// four 16-byte pieces of a row change places by its number, so neither the copies nor ldmatrix meet in a bank.
///
/// Floor of a slice of a 128 x 256 tile, one block of 8 warps of 64 x 64 an SM: 512 mma of 16 bits at 62 % of the peak rate are
/// 832 clocks; shared memory takes (8 warps x 128 + 384) x 64 bytes = 704 clocks; 8 warps x (64 mma + 128 additions + 16
/// ldmatrix + about 40 for copies) / 4 = 500 of 832 issue slots; 24 KB from the L2 cache. A smaller tile would be bound by
/// shared memory and the L2 cache: 128 x 128 has 768 and 32 KB for the same. int8 has half the mma time: shared memory binds,
/// at 59 % of the mma floor. float32 (128 x 128: twice the accumulators' room for its halves) has six times the mma time for
/// the same bytes and is bound by mma.
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

  FIMO_DEVICE const char* row(std::int64_t r) const {
    return tokens == 1 ? data + r * batch_stride : data + r / tokens * batch_stride + r % tokens * token_stride;
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

/// A thread's share of copying an operand's rows: one 16-byte piece of every kThreads / 4-th row. Rows that do not exist are
/// not copied: what stands there reaches only sums that do not exist.
template <class Element, int kRows, int kThreads>
class SliceCopy {
 public:
  FIMO_DEVICE SliceCopy(const TileRows& x, std::int64_t first) : unit_(x.unit) {
    const int row = static_cast<int>(threadIdx.x) / 4, piece = static_cast<int>(threadIdx.x) % 4;
    to_ = slice_offset(row, piece);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const int r = row + i * kStep;
      from_[i] = r < kRows && first + r < x.rows ? x.row(first + r) + piece * 16 : nullptr;
    }
  }

  /// Copies the slice that begins at byte `at` of rows that end at byte `end`.
  FIMO_DEVICE void start(unsigned char* slice, std::int64_t at, std::int64_t end) const {
    const std::int64_t left = end - at - static_cast<int>(threadIdx.x) % 4 * 16;
    const int inside = left < 0 ? 0 : left < 16 ? static_cast<int>(left) : 16;
    if (unit_ == 16) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        if (from_[i]) copy_async_part<16>(slice + to_ + i * kStep * kSliceBytes, from_[i] + at, inside);
      }
    } else if (unit_ == 4) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        if (!from_[i]) continue;
#pragma unroll
        for (int word = 0; word < 4; ++word) {
          const int rest = inside - 4 * word;
          copy_async_part<4>(slice + to_ + i * kStep * kSliceBytes + 4 * word, from_[i] + at + 4 * word,
                             rest < 0   ? 0
                             : rest < 4 ? rest
                                        : 4);
        }
      }
    } else if constexpr (Element::kBytes < 4) {
      copy_elements(slice, at, inside);
    }
  }

 private:
  static constexpr int kStep = kThreads / 4, kCount = (kRows + kStep - 1) / kStep;
  static_assert(kStep % 8 == 0, "so that the places of a piece are the same in all of a thread's rows");

  /// For rows at any address: element by element, through registers.
  FIMO_DEVICE void copy_elements(unsigned char* slice, std::int64_t at, int inside) const {
    constexpr int kSize = Element::kBytes;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (!from_[i]) continue;
      std::uint32_t words[4] = {0, 0, 0, 0};
#pragma unroll
      for (int e = 0; e < 16; e += kSize) {
        if (e >= inside) continue;
        std::uint32_t element;
        if constexpr (kSize == 1) {
          element = *reinterpret_cast<const std::uint8_t*>(from_[i] + at + e);
        } else {
          element = *reinterpret_cast<const std::uint16_t*>(from_[i] + at + e);
        }
        words[e / 4] |= element << (8 * (e % 4));
      }
      *reinterpret_cast<uint4*>(slice + to_ + i * kStep * kSliceBytes) = make_uint4(words[0], words[1], words[2], words[3]);
    }
  }

  int unit_, to_;
  const char* from_[kCount];
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

/// d += a b for step 0 or 1 of a slice, whose part of b is in registers 2 step and 2 step + 1.
template <class Element>
FIMO_DEVICE void tile_mma(typename Element::Sum (&d)[4], const Fragment<Element>& a, const Fragment<Element>& b, int step) {
  const std::uint32_t high[2] = {b.high[2 * step], b.high[2 * step + 1]};
  if constexpr (Element::kType == DType::kBFloat16) {
    mma_bf16(d, a.high, high);
  } else if constexpr (Element::kType == DType::kFloat16) {
    mma_half(d, a.high, high);
  } else if constexpr (Element::kType == DType::kInt8) {
    mma_int8(d, a.high, high);
  } else {
    const std::uint32_t low[2] = {b.low[2 * step], b.low[2 * step + 1]};
    mma_tf32(d, a.low, high);
    mma_tf32(d, a.high, low);
    mma_tf32(d, a.high, high);
  }
}

/// The product of a block of kWarpRows x kWarpCols warps, each with kRowTiles x kColTiles tiles of 16 x 8 in registers.
template <class Element_, int kWarpRows, int kWarpCols, int kRowTiles_, int kColTiles_, int kStages>
struct TileProduct {
  using Element = Element_;
  static constexpr int kRowTiles = kRowTiles_, kColTiles = kColTiles_;
  static constexpr int kThreads = kWarp * kWarpRows * kWarpCols;
  static constexpr int kRows = 16 * kRowTiles * kWarpRows, kCols = 8 * kColTiles * kWarpCols;
  using Sum = typename Element::Sum;

  struct Shared {
    alignas(128) unsigned char slices[kStages][(kRows + kCols) * kSliceBytes];
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
    const SliceCopy<Element, kRows, kThreads> copy_a(a, first_row);
    const SliceCopy<Element, kCols, kThreads> copy_b(b, first_col);
    // The tiles of this warp that have rows and columns.
    const std::int64_t rows = first_col + warp_col() < b.rows ? a.rows - first_row - warp_row() : 0;
    const int row_tiles = rows > 16 * (kRowTiles - 1) ? kRowTiles : rows > 0 ? static_cast<int>((rows + 15) / 16) : 0;

    const auto start = [&](int stage, std::int64_t at) {
      if (at < end) {
        copy_a.start(shared.slices[stage], at, end);
        if (!same) copy_b.start(shared.slices[stage] + kRows * kSliceBytes, at, end);
      }
      copy_async_commit();
    };
#pragma unroll
    for (int stage = 0; stage < kStages - 1; ++stage) start(stage, begin + stage * kSliceBytes);
    int stage = 0;
    for (std::int64_t at = begin; at < end; at += kSliceBytes) {
      copy_async_wait<kStages - 2>();
      __syncthreads();  // this slice is there, and nobody reads the previous one any more
      start(stage == 0 ? kStages - 1 : stage - 1, at + (kStages - 1) * kSliceBytes);
      if (row_tiles > 0) multiply(shared.slices[stage], same ? 0 : kRows, row_tiles);
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
  /// sums += the products of a slice, for the first row_tiles of this warp; b's rows begin at row b_at of the slice.
  FIMO_DEVICE void multiply(const unsigned char* slice, int b_at, int row_tiles) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const unsigned char* b_rows = slice + (b_at + warp_col()) * kSliceBytes + slice_offset(lane % 8, lane / 8);
    Fragment<Element> b[kColTiles];
#pragma unroll
    for (int j = 0; j < kColTiles; ++j) {
      load_matrices(b[j].high, b_rows + 8 * j * kSliceBytes);
      b[j].split();
    }
    const unsigned char* a_rows = slice + warp_row() * kSliceBytes;
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i) {
      if (i >= row_tiles) break;
      Fragment<Element> a[2];
#pragma unroll
      for (int step = 0; step < 2; ++step) {
        load_matrices(a[step].high, a_rows + 16 * i * kSliceBytes + slice_offset(lane % 16, 2 * step + lane / 16));
        a[step].split();
      }
      if constexpr (Element::kType == DType::kInt8) {
#pragma unroll
        for (int step = 0; step < 2; ++step) {
#pragma unroll
          for (int j = 0; j < kColTiles; ++j) tile_mma<Element>(sums[i][j], a[step], b[j], step);
        }
      } else {
        constexpr int kTogether = 4;  // independent chains, for their latency
        static_assert(kColTiles % kTogether == 0, "whole groups");
#pragma unroll
        for (int j0 = 0; j0 < kColTiles; j0 += kTogether) {
          Sum part[kTogether][4] = {};
#pragma unroll
          for (int step = 0; step < 2; ++step) {
#pragma unroll
            for (int j = 0; j < kTogether; ++j) tile_mma<Element>(part[j], a[step], b[j0 + j], step);
          }
#pragma unroll
          for (int j = 0; j < kTogether; ++j) {
#pragma unroll
            for (int k = 0; k < 4; ++k) sums[i][j0 + j][k] += part[j][k];
          }
        }
      }
    }
  }
};

/// The tile for many rows on both sides.
template <class Element>
using WideTile = TileProduct<Element, 2, 4, 4, Element::kType == DType::kFloat32 ? 4 : 8, 4>;
/// The tile for at most 16 rows of a, bound by reading b: two blocks an SM, with 50 KB under way each.
template <class Element>
using FlatTile = TileProduct<Element, 1, 8, 1, 4, 4>;

}  // namespace fimo::cuda
