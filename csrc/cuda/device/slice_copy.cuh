// SPDX-License-Identifier: Apache-2.0
/// \file
/// How rows of any layout come into shared memory for tile_product.cuh: slice by slice of their depth, in pieces of 16 bytes
/// where addresses allow, else by words or elements.
#pragma once

#include "cuda/device/instructions.cuh"
#include "fimo_fast/tensor_view.h"

namespace fimo::cuda {

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
    if (tokens == 1) return r * batch_stride;
    const std::int64_t example = r / tokens;
    return example * batch_stride + (r - example * tokens) * token_stride;
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
#pragma unroll 1
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

}  // namespace fimo::cuda
