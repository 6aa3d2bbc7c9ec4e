// SPDX-License-Identifier: Apache-2.0
/// \file
/// Dense sketches (Rademacher, Gaussian): out[b, c] += sum_j S(c, j) * (x[b, j] * scale), one chain of fused multiply-adds over
/// j in increasing order.
///
/// Floor: rows * dim * sketch_dim multiply-adds, as in a matrix product, whose second factor is generated: a panel of 128
/// coordinates by 128 columns at a time (64 KB, second-level cache) serves all rows of the task. The inner tile is that of a
/// matrix product, kGramRows x kGramRegs registers of sums. Every entry costs its generation (3 operations a register of
/// Rademacher signs, about 50 of Gaussian numbers) plus one multiply-add for each row, so a batch of 32 rows already hides
/// most of it. Products with ±1 are exact: a Rademacher sketch rounds only its additions.
#pragma once

#include <cstdint>

#include "cpu/kernels/gaussian_kernel.h"
#include "cpu/kernels/gram_kernel.h"
#include "cpu/kernels/philox_kernel.h"
#include "cpu/kernels/sketch_input.h"

namespace fimo {

constexpr std::int64_t kDenseCoordinates = 128;  // of a panel of generated entries
constexpr std::int64_t kDenseColumns = 128;

/// Adds output columns [first_col, first_col + cols) of a dense sketch. first_col is a multiple of 128.
struct DenseTask {
  SketchInput in;
  void* out;  // [rows, sketch_dim] at column 0
  std::int64_t out_row_stride;
  std::int64_t first_col;
  std::int64_t cols;
  void* rows;   // [rows, kDenseCoordinates], scaled
  void* panel;  // [kDenseCoordinates, kDenseColumns]
};

}  // namespace fimo

#if defined(FIMO_ISA)
namespace fimo::FIMO_ISA {
namespace {

constexpr std::int64_t kDenseDepth = kDenseCoordinates;

/// Where the entry of coordinate j and column c of a tile lies in its panel.
template <class T>
FIMO_FORCE_INLINE std::int64_t panel_at(std::int64_t j, std::int64_t c) {
  return (c / kPanel<T> * kDenseDepth + j) * kPanel<T> + c % kPanel<T>;
}

/// Panels of ±1: column c of a tile is bit c of the coordinate's Philox block.
struct RademacherEntries {
  static constexpr std::uint32_t kStream = kStreamRademacher;

  template <class T>
  static FIMO_FORCE_INLINE typename Simd<T>::Reg multiply_add(typename Simd<T>::Reg x, typename Simd<T>::Reg entry,
                                                              typename Simd<T>::Reg sum) {
    return Simd<T>::fma(x, entry, sum);
  }

  template <class T>
  static void fill(T* panel, std::uint64_t first, std::int64_t count, std::uint32_t tile, std::int64_t cols,
                   std::uint64_t seed) {
    using S = Simd<T>;
    std::uint32_t words[4 * kDenseDepth];
    philox_fill(words, first, count, tile, kStream, seed);
    const typename S::Reg one = S::set(T(1));
    for (std::int64_t c = 0; c < cols; c += kPanel<T>) {
      for (std::int64_t j = 0; j < count; ++j) {
        T* target = panel + panel_at<T>(j, c);
        FIMO_UNROLL
        for (int v = 0; v < Simd<T>::kGramRegs; ++v) {
          const std::int64_t at = c + v * S::kLanes;
          S::store(target + v * S::kLanes, S::flip(one, S::sign_bits(words[4 * j + at / 32] >> (at % 32))));
        }
      }
    }
  }
};

/// Panels of normal numbers: sixteen Philox blocks a coordinate and tile, see gaussian_kernel.h.
struct GaussianEntries {
  template <class T>
  static FIMO_FORCE_INLINE typename Simd<T>::Reg multiply_add(typename Simd<T>::Reg x, typename Simd<T>::Reg entry,
                                                              typename Simd<T>::Reg sum) {
    return Simd<T>::fused(x, entry, sum);
  }

  template <class T>
  static void fill(T* panel, std::uint64_t first, std::int64_t count, std::uint32_t tile, std::int64_t cols,
                   std::uint64_t seed) {
    for (std::int64_t j = 0; j < count; ++j) {
      gaussian_tile(first + static_cast<std::uint64_t>(j), tile, cols, seed, [&](std::int64_t c, Simd<float>::Reg entries) {
        if constexpr (kSame<T, float>) {
          Simd<float>::store(panel + panel_at<T>(j, c), entries);
        } else {
          float narrow[Simd<float>::kLanes];
          Simd<float>::store(narrow, entries);
          for (int i = 0; i < Simd<float>::kLanes; ++i) panel[panel_at<T>(j, c + i)] = static_cast<T>(narrow[i]);
        }
      });
    }
  }
};

/// out[r, 0 : Panels * kPanel] += sum over `count` coordinates, for Rows rows.
template <class Entries, class T, int Rows, int Panels>
void dense_tile(const T* x,  // [Rows, kDenseDepth]
                const T* panel, std::int64_t count, T* out, std::int64_t out_row_stride) {
  using S = Simd<T>;
  constexpr int kRegs = S::kGramRegs;
  typename S::Reg sum[Rows][Panels * kRegs];
  FIMO_UNROLL
  for (int r = 0; r < Rows; ++r) {
    FIMO_UNROLL
    for (int v = 0; v < Panels * kRegs; ++v) sum[r][v] = S::load(out + r * out_row_stride + v * S::kLanes);
  }
  for (std::int64_t j = 0; j < count; ++j) {
    typename S::Reg entry[Panels * kRegs];
    FIMO_UNROLL
    for (int v = 0; v < Panels * kRegs; ++v) {
      entry[v] = S::load(panel + (v / kRegs * kDenseDepth + j) * kPanel<T> + v % kRegs * S::kLanes);
    }
    FIMO_UNROLL
    for (int r = 0; r < Rows; ++r) {
      const typename S::Reg value = S::set(x[r * kDenseDepth + j]);
      FIMO_UNROLL
      for (int v = 0; v < Panels * kRegs; ++v) sum[r][v] = Entries::template multiply_add<T>(value, entry[v], sum[r][v]);
    }
  }
  FIMO_UNROLL
  for (int r = 0; r < Rows; ++r) {
    FIMO_UNROLL
    for (int v = 0; v < Panels * kRegs; ++v) S::store(out + r * out_row_stride + v * S::kLanes, sum[r][v]);
  }
}

/// dense_tile for a run-time number of rows in [1, Rows].
template <class Entries, class T, int Rows, int Panels>
void dense_rows(std::int64_t rows, const T* x, const T* panel, std::int64_t count, T* out, std::int64_t out_row_stride) {
  if constexpr (Rows > 1) {
    if (rows < Rows) {
      dense_rows<Entries, T, Rows - 1, Panels>(rows, x, panel, count, out, out_row_stride);
      return;
    }
  }
  dense_tile<Entries, T, Rows, Panels>(x, panel, count, out, out_row_stride);
}

/// One panel of entries times all rows, into `cols` columns of out.
template <class Entries, class T>
void dense_panel(const T* x, const T* panel, std::int64_t rows, std::int64_t count, std::int64_t cols, T* out,
                 std::int64_t out_row_stride) {
  constexpr int kRows = Simd<T>::kGramRows;
  constexpr int kWide = 4;  // panels at once where there are too few rows to hide the latency of the multiply-add
  std::int64_t c = 0;
  if (rows <= 2) {
    for (; c + kWide * kPanel<T> <= cols; c += kWide * kPanel<T>) {
      dense_rows<Entries, T, 2, kWide>(rows, x, panel + panel_at<T>(0, c), count, out + c, out_row_stride);
    }
  }
  for (; c < cols; c += kPanel<T>) {
    const T* part = panel + panel_at<T>(0, c);
    for (std::int64_t row = 0; row < rows; row += kRows) {
      const std::int64_t some = rows - row < kRows ? rows - row : kRows;
      T* target = out + row * out_row_stride + c;
      if (cols - c >= kPanel<T>) {
        dense_rows<Entries, T, kRows, 1>(some, x + row * kDenseDepth, part, count, target, out_row_stride);
        continue;
      }
      T tile[kRows * kPanel<T>];  // the last columns: out has no room for a whole panel
      for (std::int64_t r = 0; r < some; ++r) {
        for (std::int64_t v = 0; v < kPanel<T>; ++v)
          tile[r * kPanel<T> + v] = v < cols - c ? target[r * out_row_stride + v] : T(0);
      }
      dense_rows<Entries, T, kRows, 1>(some, x + row * kDenseDepth, part, count, tile, kPanel<T>);
      for (std::int64_t r = 0; r < some; ++r) {
        for (std::int64_t v = 0; v < cols - c; ++v) target[r * out_row_stride + v] = tile[r * kPanel<T> + v];
      }
    }
  }
}

template <class Element, class Entries>
void dense(const DenseTask& task) {
  using T = typename Accumulator<Element>::type;
  T* x = static_cast<T*>(task.rows);
  T* panel = static_cast<T*>(task.panel);
  for (std::int64_t first = 0; first < task.in.dim; first += kDenseDepth) {
    const std::int64_t left = task.in.dim - first;
    const std::int64_t count = left < kDenseDepth ? left : kDenseDepth;
    for (std::int64_t row = 0; row < task.in.rows; ++row) {
      const Element* source = static_cast<const Element*>(task.in.grads) + row * task.in.row_stride + first;
      load_scaled(x + row * kDenseDepth, source, count, task.in.scale);
    }
    for (std::int64_t c = 0; c < task.cols; c += kDenseColumns) {
      const std::int64_t cols = task.cols - c < kDenseColumns ? task.cols - c : kDenseColumns;
      Entries::template fill<T>(panel, task.in.first_coordinate + static_cast<std::uint64_t>(first), count,
                                static_cast<std::uint32_t>((task.first_col + c) / kDenseColumns), cols, task.in.seed);
      dense_panel<Entries, T>(x, panel, task.in.rows, count, cols, static_cast<T*>(task.out) + task.first_col + c,
                              task.out_row_stride);
    }
  }
}

template <class Element>
void rademacher(const DenseTask& task) {
  dense<Element, RademacherEntries>(task);
}

template <class Element>
void gaussian(const DenseTask& task) {
  dense<Element, GaussianEntries>(task);
}

}  // namespace
}  // namespace fimo::FIMO_ISA
#endif
