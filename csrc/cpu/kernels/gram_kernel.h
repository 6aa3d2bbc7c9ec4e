// SPDX-License-Identifier: Apache-2.0
/// \file
/// C = A B^T on packed columns: the one matrix product of this library, used by outer_dot, outer_norm2, scores and topk.
///
/// kGramRows x (kGramRegs * lanes) sums stay in registers; a step of the depth is kGramRegs loads, kGramRows broadcasts and
/// their FMAs. The depth is cut into parts of 256, whose sums start at zero and are then added to C: that bounds the rounding
/// error by the part, and keeps a packed panel part in the first-level cache. Every C[i, j] is the same chain of operations
/// wherever it lies in the tile, so an example's result does not depend on its neighbours in the batch.
///
/// int8 runs through the same tile: its lanes are words of two or four elements, the depth counts words, and the fused
/// multiply-add is the exact inner product of two words added to a 32-bit sum.
#pragma once

#include <cstdint>

#include "cpu/kernels/dot_kernel.h"

namespace fimo {

/// Matrices enter the A B^T kernel packed as column panels: [ceil(cols / panel), depth, panel], zero in the padding.
struct PackTask {
  const void* source;
  std::int64_t col_stride;    // elements of the source between two packed columns
  std::int64_t depth_stride;  // and between two depths; one of both is 1
  std::int64_t cols;
  std::int64_t depth;
  void* packed;
};

/// C[i, j] = sum_d rows[i, d] * packed[d, j], for i < row_count, j < cols; added to C if accumulate.
struct GramTask {
  const void* rows;
  std::int64_t row_stride;
  std::int64_t depth_stride;  // of `rows`
  std::int64_t row_count;
  std::int64_t depth;
  const void* packed;
  std::int64_t cols;
  void* c;
  std::int64_t c_row_stride;
  bool accumulate;
};

/// out[i, j] = integer[i, j] * (row_scales[i] * col_scales[j]), where integer is dots[i, j] - bias[j], or sums[i, j] after that
/// was added to it (or has replaced it). Integers are float64, exact below 2^53. All matrices have one stride.
struct ScaleTask {
  const std::int32_t* dots;
  std::int64_t stride;
  std::int64_t rows;
  std::int64_t cols;
  const std::int32_t* bias;  // int8_row_bias times the sums of the packed or prepared columns
  const float* row_scales;
  const float* col_scales;
  double* sums;     // null if one call has the whole depth
  bool accumulate;  // into sums
  float* out;
};

}  // namespace fimo

#if defined(FIMO_ISA)
namespace fimo::FIMO_ISA {
namespace {

constexpr std::int64_t kGramDepth = 256;
constexpr std::int64_t kGramColumns = 256;  // a multiple of every panel

template <class T>
constexpr int kPanel = Simd<T>::kGramRegs * Simd<T>::kLanes;

constexpr std::int64_t smaller_of(std::int64_t a, std::int64_t b) { return a < b ? a : b; }

/// c[r, v] (+)= sum over depth, for Rows rows and the first kRegs registers of a panel.
template <class T, int Rows, int kRegs>
void gram_tile(const T* rows, std::int64_t row_stride,
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
      const typename S::Reg x = S::set(rows[r * row_stride + d]);
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
void gram_rows(std::int64_t count, const T* rows, std::int64_t row_stride, const T* panel, std::int64_t depth, T* c,
               std::int64_t c_row_stride, bool accumulate) {
  if constexpr (Rows > 1) {
    if (count < Rows) {
      gram_rows<T, Rows - 1, kRegs>(count, rows, row_stride, panel, depth, c, c_row_stride, accumulate);
      return;
    }
  }
  gram_tile<T, Rows, kRegs>(rows, row_stride, panel, depth, c, c_row_stride, accumulate);
}

/// out = the words of x[0, count) in order, converted for the left or the right side of a product.
template <class Element, bool kRowSide>
FIMO_FORCE_INLINE void convert(DotWord<Element>* out, const Element* x, std::int64_t count) {
  if constexpr (!kSame<Element, std::int8_t>) {
    using S = Simd<DotWord<Element>>;
    std::int64_t i = 0;
    for (; i + S::kLanes <= count; i += S::kLanes) S::store(out + i, S::load(x + i));
    for (; i < count; ++i) out[i] = to_accumulator(x[i]);
  } else {
    using S = DotSimd<Element>;
    const auto load = [](const Element* p) { return kRowSide ? S::load_row(p) : S::load_column(p); };
    std::int64_t i = 0;
    for (; i + S::kStep <= count; i += S::kStep) S::store(out + i / S::kGroup, load(x + i));
    if (i == count) return;
    Element rest[S::kStep] = {};
    for (std::int64_t r = i; r < count; ++r) rest[r - i] = x[r];
    DotWord<Element> words[kDotWords<Element>];
    S::store(words, load(rest));
    for (std::int64_t w = 0; i + w * S::kGroup < count; ++w) out[i / S::kGroup + w] = words[w];
  }
}

/// One part of the depth, words [first, first + depth). The columns are cut into groups whose panels stay in the second-level
/// cache while all rows pass.
template <class Element>
void gram_part(const GramTask& task, std::int64_t words, std::int64_t first, std::int64_t depth, bool accumulate) {
  using T = DotWord<Element>;
  constexpr int kRows = Simd<T>::kGramRows;
  constexpr int kRegs = Simd<T>::kGramRegs;
  constexpr std::int64_t kGroup = kDotGroup<Element>;
  for (std::int64_t group = 0; group < task.cols; group += kGramColumns) {
    for (std::int64_t i = 0; i < task.row_count; i += kRows) {
      const std::int64_t count = smaller_of(task.row_count - i, kRows);
      const Element* source = static_cast<const Element*>(task.rows) + i * task.row_stride + first * kGroup * task.depth_stride;
      // Rows are copied where they must be converted, or where their stride would map them (or, across the depth, their parts)
      // to the same few lines of the first-level cache; the copy serves all panels.
      T copied[kRows * kGramDepth];
      const T* rows = copied;
      std::int64_t row_stride = kGramDepth;
      if (kSame<Element, T> && task.depth_stride == 1 && task.row_stride * static_cast<std::int64_t>(sizeof(T)) % 4096 != 0) {
        rows = reinterpret_cast<const T*>(source);
        row_stride = task.row_stride;
      } else if (task.depth_stride == 1) {
        const std::int64_t elements = smaller_of(depth * kGroup, task.depth - first * kGroup);
        for (std::int64_t r = 0; r < count; ++r) {
          convert<Element, true>(copied + r * kGramDepth, source + r * task.row_stride, elements);
        }
      } else if constexpr (!kSame<Element, std::int8_t>) {
        for (std::int64_t d = 0; d < depth; ++d) {
          for (std::int64_t r = 0; r < count; ++r) {
            copied[r * kGramDepth + d] = to_accumulator(source[r * task.row_stride + d * task.depth_stride]);
          }
        }
      }
      // A part of a row is too short for the hardware to read ahead: the next rows come while these are multiplied.
      if (group == 0 && task.depth_stride == 1) {
        const std::int64_t bytes = depth * kGroup * static_cast<std::int64_t>(sizeof(Element));
        for (std::int64_t r = kRows; r < smaller_of(task.row_count - i, 2 * kRows); ++r) {
          const char* next = reinterpret_cast<const char*>(source + r * task.row_stride);
          for (std::int64_t b = 0; b < bytes; b += 64) __builtin_prefetch(next + b, 0, 2);
        }
      }
      for (std::int64_t j = group; j < smaller_of(group + kGramColumns, task.cols); j += kPanel<T>) {
        const T* panel = static_cast<const T*>(task.packed) + j * words + first * kPanel<T>;
        T* c = static_cast<T*>(task.c) + i * task.c_row_stride + j;
        const std::int64_t cols = task.cols - j;
        if (cols >= kPanel<T>) {
          gram_rows<T, kRows, kRegs>(count, rows, row_stride, panel, depth, c, task.c_row_stride, accumulate);
          continue;
        }
        // The last panel: C has no room for its padding, where Inf * 0 may have left NaN.
        T tile[kRows * kPanel<T>];
        if (cols <= Simd<T>::kLanes) {  // a few queries, or one example: half the work
          gram_rows<T, kRows, 1>(count, rows, row_stride, panel, depth, tile, kPanel<T>, false);
        } else {
          gram_rows<T, kRows, kRegs>(count, rows, row_stride, panel, depth, tile, kPanel<T>, false);
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
void gram(const GramTask& task) {
  using T = DotWord<Element>;
  constexpr std::int64_t kGroup = kDotGroup<Element>;
  const std::int64_t words = (task.depth + kGroup - 1) / kGroup;
  if (task.depth == 0 && !task.accumulate) {
    for (std::int64_t i = 0; i < task.row_count; ++i) {
      for (std::int64_t j = 0; j < task.cols; ++j) static_cast<T*>(task.c)[i * task.c_row_stride + j] = T(0);
    }
  }
  for (std::int64_t first = 0; first < words; first += kGramDepth) {
    const std::int64_t depth = smaller_of(words - first, kGramDepth);
    gram_part<Element>(task, words, first, depth, task.accumulate || first > 0);
  }
}

template <class Element>
void pack(const PackTask& task) {
  using T = DotWord<Element>;
  constexpr std::int64_t kGroup = kDotGroup<Element>;
  const std::int64_t words = (task.depth + kGroup - 1) / kGroup;
  constexpr std::int64_t kTile = 64;  // words at a time: the part of a panel being written stays in the first-level cache
  const Element* source = static_cast<const Element*>(task.source);
  T converted[kTile];
  for (std::int64_t j = 0; j < task.cols; j += kPanel<T>) {
    T* panel = static_cast<T*>(task.packed) + j * words;
    const std::int64_t cols = smaller_of(task.cols - j, kPanel<T>);
    if constexpr (!kSame<Element, std::int8_t>) {
      if (task.col_stride == 1) {
        for (std::int64_t d = 0; d < task.depth; ++d) {
          convert<Element, false>(panel + d * kPanel<T>, source + d * task.depth_stride + j, cols);
          for (std::int64_t v = cols; v < kPanel<T>; ++v) panel[d * kPanel<T> + v] = T(0);
        }
        continue;
      }
    }
    for (std::int64_t w = 0; w < words; w += kTile) {
      const std::int64_t count = smaller_of(words - w, kTile);
      for (std::int64_t v = 0; v < cols; ++v) {
        convert<Element, false>(converted, source + (j + v) * task.col_stride + w * kGroup,
                                smaller_of(count * kGroup, task.depth - w * kGroup));
        for (std::int64_t i = 0; i < count; ++i) panel[(w + i) * kPanel<T> + v] = converted[i];
      }
      for (std::int64_t i = 0; i < count; ++i) {
        for (std::int64_t v = cols; v < kPanel<T>; ++v) panel[(w + i) * kPanel<T> + v] = T(0);
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

/// See ScaleTask: two roundings, of the product in float64 and to float32. The product of two float32 is exact in float64.
void scale(const ScaleTask& task) {
  for (std::int64_t i = 0; i < task.rows; ++i) {
    const std::int32_t* dots = task.dots + i * task.stride;
    const double row_scale = static_cast<double>(task.row_scales[i]);
    float* out = task.out + i * task.stride;
    if (task.sums) {
      double* sums = task.sums + i * task.stride;
      for (std::int64_t j = 0; j < task.cols; ++j) {
        sums[j] = (task.accumulate ? sums[j] : 0.0) + static_cast<double>(dots[j] - task.bias[j]);
        out[j] = static_cast<float>(sums[j] * (row_scale * static_cast<double>(task.col_scales[j])));
      }
    } else {
      for (std::int64_t j = 0; j < task.cols; ++j) {
        const double exact = static_cast<double>(dots[j] - task.bias[j]);
        out[j] = static_cast<float>(exact * (row_scale * static_cast<double>(task.col_scales[j])));
      }
    }
  }
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
#endif
