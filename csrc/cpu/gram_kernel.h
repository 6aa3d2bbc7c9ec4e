// SPDX-License-Identifier: Apache-2.0
/// \file
/// C = A B^T on packed columns: the one matrix product of this library, used by outer_dot, outer_norm2 and topk.
///
/// kGramRows x (kGramRegs * lanes) sums stay in registers; a step of the depth is kGramRegs loads, kGramRows broadcasts and
/// their FMAs. The depth is cut into parts of 256, whose sums start at zero and are then added to C: that bounds the rounding
/// error by the part, and keeps a packed panel part in the first-level cache. Every C[i, j] is the same chain of operations
/// wherever it lies in the tile, so an example's result does not depend on its neighbours in the batch.
#pragma once

#include <cstdint>

#include "kernels.h"
#include "philox_kernel.h"

namespace fimo::FIMO_ISA {
namespace {

constexpr std::int64_t kGramDepth = 256;

template <class T>
constexpr int kPanel = Simd<T>::kGramRegs * Simd<T>::kLanes;

/// c[r, v] (+)= sum over depth, for Rows rows and the first kRegs registers of a panel.
template <class T, int Rows, int kRegs>
void gram_tile(const T* rows, std::int64_t row_stride, std::int64_t depth_stride,
               const T* panel,  // [depth, kPanel]
               std::int64_t depth, T* c, std::int64_t c_row_stride, bool accumulate) {
  using S = Simd<T>;
  typename S::Reg sum[Rows][kRegs];
  FIMO_UNROLL
  for (int r = 0; r < Rows; ++r) {
    FIMO_UNROLL
    for (int v = 0; v < kRegs; ++v) sum[r][v] = S::zero();
  }
  for (std::int64_t d = 0; d < depth; ++d) {
    typename S::Reg column[kRegs];
    FIMO_UNROLL
    for (int v = 0; v < kRegs; ++v) column[v] = S::load(panel + d * kPanel<T> + v * S::kLanes);
    FIMO_UNROLL
    for (int r = 0; r < Rows; ++r) {
      const typename S::Reg x = S::set(rows[r * row_stride + d * depth_stride]);
      FIMO_UNROLL
      for (int v = 0; v < kRegs; ++v) sum[r][v] = S::fma(x, column[v], sum[r][v]);
    }
  }
  FIMO_UNROLL
  for (int r = 0; r < Rows; ++r) {
    FIMO_UNROLL
    for (int v = 0; v < kRegs; ++v) {
      T* target = c + r * c_row_stride + v * S::kLanes;
      S::store(target, accumulate ? S::add(S::load(target), sum[r][v]) : sum[r][v]);
    }
  }
}

/// gram_tile<T, count, kRegs> for a run-time count in [1, Rows].
template <class T, int Rows, int kRegs>
void gram_rows(std::int64_t count, const T* rows, std::int64_t row_stride, std::int64_t depth_stride, const T* panel,
               std::int64_t depth, T* c, std::int64_t c_row_stride, bool accumulate) {
  if constexpr (Rows > 1) {
    if (count < Rows) {
      gram_rows<T, Rows - 1, kRegs>(count, rows, row_stride, depth_stride, panel, depth, c, c_row_stride, accumulate);
      return;
    }
  }
  gram_tile<T, Rows, kRegs>(rows, row_stride, depth_stride, panel, depth, c, c_row_stride, accumulate);
}

template <class Element>
void gram(const GramTask& task) {
  using T = typename Accumulator<Element>::type;
  constexpr int kRows = Simd<T>::kGramRows;
  constexpr int kRegs = Simd<T>::kGramRegs;
  if (task.depth == 0 && !task.accumulate) {
    for (std::int64_t i = 0; i < task.row_count; ++i) {
      for (std::int64_t j = 0; j < task.cols; ++j) static_cast<T*>(task.c)[i * task.c_row_stride + j] = T(0);
    }
  }
  for (std::int64_t first = 0; first < task.depth; first += kGramDepth) {
    const std::int64_t depth = task.depth - first < kGramDepth ? task.depth - first : kGramDepth;
    const bool accumulate = task.accumulate || first > 0;
    for (std::int64_t i = 0; i < task.row_count; i += kRows) {
      const std::int64_t count = task.row_count - i < kRows ? task.row_count - i : kRows;
      const Element* source = static_cast<const Element*>(task.rows) + i * task.row_stride + first * task.depth_stride;
      // Rows are copied where they must be converted, or where their stride would map them (or, across the depth, their parts)
      // to the same few lines of the first-level cache; the copy serves all panels.
      T copied[kRows * kGramDepth];
      const T* rows = copied;
      std::int64_t row_stride = kGramDepth, depth_stride = 1;
      if (kSame<Element, T> && task.depth_stride == 1 && task.row_stride * sizeof(T) % 4096 != 0) {
        rows = reinterpret_cast<const T*>(source);
        row_stride = task.row_stride;
      } else if (task.depth_stride == 1) {
        for (std::int64_t r = 0; r < count; ++r) load_scaled(copied + r * kGramDepth, source + r * task.row_stride, depth, 1.0);
      } else {
        for (std::int64_t d = 0; d < depth; ++d) {
          for (std::int64_t r = 0; r < count; ++r) {
            copied[r * kGramDepth + d] = to_accumulator(source[r * task.row_stride + d * task.depth_stride]);
          }
        }
      }
      for (std::int64_t j = 0; j < task.cols; j += kPanel<T>) {
        const T* panel = static_cast<const T*>(task.packed) + j * task.depth + first * kPanel<T>;
        T* c = static_cast<T*>(task.c) + i * task.c_row_stride + j;
        const std::int64_t cols = task.cols - j;
        if (cols >= kPanel<T>) {
          gram_rows<T, kRows, kRegs>(count, rows, row_stride, depth_stride, panel, depth, c, task.c_row_stride, accumulate);
          continue;
        }
        // The last panel: C has no room for its padding, where Inf * 0 may have left NaN.
        T tile[kRows * kPanel<T>];
        if (cols <= Simd<T>::kLanes) {  // a few queries, or one example: half the work
          gram_rows<T, kRows, 1>(count, rows, row_stride, depth_stride, panel, depth, tile, kPanel<T>, false);
        } else {
          gram_rows<T, kRows, kRegs>(count, rows, row_stride, depth_stride, panel, depth, tile, kPanel<T>, false);
        }
        for (std::int64_t r = 0; r < count; ++r) {
          for (std::int64_t v = 0; v < cols; ++v) {
            T* target = c + r * task.c_row_stride + v;
            *target = accumulate ? *target + tile[r * kPanel<T> + v] : tile[r * kPanel<T> + v];
          }
        }
      }
    }
  }
}

template <class Element>
void pack(const PackTask& task) {
  using T = typename Accumulator<Element>::type;
  constexpr std::int64_t kTile = 64;  // depths at a time: the part of a panel being written stays in the first-level cache
  const Element* source = static_cast<const Element*>(task.source);
  T converted[kTile];
  for (std::int64_t j = 0; j < task.cols; j += kPanel<T>) {
    T* panel = static_cast<T*>(task.packed) + j * task.depth;
    const std::int64_t cols = task.cols - j < kPanel<T> ? task.cols - j : kPanel<T>;
    if (task.col_stride == 1) {
      for (std::int64_t d = 0; d < task.depth; ++d) {
        load_scaled(panel + d * kPanel<T>, source + d * task.depth_stride + j, cols, 1.0);
        for (std::int64_t v = cols; v < kPanel<T>; ++v) panel[d * kPanel<T> + v] = T(0);
      }
      continue;
    }
    for (std::int64_t d = 0; d < task.depth; d += kTile) {
      const std::int64_t count = task.depth - d < kTile ? task.depth - d : kTile;
      for (std::int64_t v = 0; v < cols; ++v) {
        load_scaled(converted, source + (j + v) * task.col_stride + d, count, 1.0);
        for (std::int64_t i = 0; i < count; ++i) panel[(d + i) * kPanel<T> + v] = converted[i];
      }
      for (std::int64_t i = 0; i < count; ++i) {
        for (std::int64_t v = cols; v < kPanel<T>; ++v) panel[(d + i) * kPanel<T> + v] = T(0);
      }
    }
  }
}

/// sum over [rows, cols] of x * y, in float64: eight partial sums by column modulo 8, added pairwise at the end.
template <class T>
double sum_products(const void* x, const void* y, std::int64_t stride, std::int64_t rows, std::int64_t cols) {
  double lane[8] = {0, 0, 0, 0, 0, 0, 0, 0};
  for (std::int64_t i = 0; i < rows; ++i) {
    const T* xi = static_cast<const T*>(x) + i * stride;
    const T* yi = static_cast<const T*>(y) + i * stride;
    std::int64_t j = 0;
    for (; j + 8 <= cols; j += 8) {
      FIMO_UNROLL
      for (int l = 0; l < 8; ++l) lane[l] += static_cast<double>(xi[j + l]) * static_cast<double>(yi[j + l]);
    }
    for (int l = 0; j < cols; ++j, ++l) lane[l] += static_cast<double>(xi[j]) * static_cast<double>(yi[j]);
  }
  return ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

/// sum of x[i]^2 in float64, in the lanes of sum_products.
template <class Element>
double sum_squares(const void* x, std::int64_t count) {
  const Element* xs = static_cast<const Element*>(x);
  double lane[8] = {0, 0, 0, 0, 0, 0, 0, 0};
  std::int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    FIMO_UNROLL
    for (int l = 0; l < 8; ++l) {
      const double value = static_cast<double>(to_accumulator(xs[i + l]));
      lane[l] += value * value;
    }
  }
  for (int l = 0; i < count; ++i, ++l) {
    const double value = static_cast<double>(to_accumulator(xs[i]));
    lane[l] += value * value;
  }
  return ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

template <class T>
void multiply(const void* x, const void* y, void* out, std::int64_t count) {
  const T* a = static_cast<const T*>(x);
  const T* b = static_cast<const T*>(y);
  T* c = static_cast<T*>(out);
  for (std::int64_t i = 0; i < count; ++i) c[i] = a[i] * b[i];
}

}  // namespace
}  // namespace fimo::FIMO_ISA
