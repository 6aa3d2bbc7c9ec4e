// SPDX-License-Identifier: Apache-2.0
/// \file
/// SJLT (sparse Johnson-Lindenstrauss): out[b, bucket(j, r)] += ±(x[b, j] * scale), j in increasing order.
///
/// Buckets and signs of a chunk of coordinates are generated once and used by all rows. Rows go in groups of one register: a
/// square of lanes x lanes elements is transposed in registers, and the sums of a group are kept as [cols, lanes], so that a
/// nonzero is one load, add and store for the whole group, with no gather or scatter. With one nonzero the sign is part of the
/// scale, which is a vector along the coordinates; with more it is a factor of a fused multiply-add, exact for 1 and -1. Row
/// by row only where a group would be mostly padding, or where its sums would not fit the caches. All ways add in the same
/// order, so they give the same bits.
///
/// Cost on AVX2, for 8 rows of float32 and one coordinate: 32 bytes from memory; 10 instructions with one nonzero (24 shuffles
/// for 8 coordinates, a load and multiplication, then column, addition and store), 8 more for each further one. Generating a
/// nonzero takes 10, once for all rows. With one nonzero and many rows reading bounds it; with several, loads and stores: two
/// loads of a vector and a store for each nonzero, half of them beyond the first-level cache once the sums (cols * 32 bytes)
/// are larger. With few rows it is the generation.
#pragma once

#include <cstdint>

#include "cpu/kernels/philox_kernel.h"
#include "cpu/kernels/sketch_input.h"

namespace fimo {

/// Generates the nonzeros of `count` coordinates from `first` on, in the order coordinate, nonzero.
struct SjltEntriesTask {
  std::uint64_t first;
  std::int64_t count;
  std::int64_t nonzeros;
  double scale;
  std::uint64_t seed;
  std::int64_t period;           // coordinates generated together; sizes the next three
  const std::uint32_t* lengths;  // [period * nonzeros] columns in the block of each nonzero
  const std::uint32_t* starts;   // [period * nonzeros] and the first of them
  std::uint32_t* words;          // [period * nonzeros + 8]
  std::uint32_t column_step;     // what columns are multiplied by
  std::uint32_t* columns;        // [count, nonzeros]
  void* factors;                 // [count, nonzeros] 1 or -1; with one nonzero, scale or -scale
};

/// Adds the nonzeros [first_nonzero, last_nonzero) of coordinates, which fall into output columns [first_col, last_col).
struct SjltTask {
  SketchInput in;
  void* out;
  std::int64_t out_row_stride;
  std::int64_t nonzeros;
  std::int64_t first_nonzero;
  std::int64_t last_nonzero;
  std::int64_t first_col;
  std::int64_t last_col;
  std::int64_t column_step;      // what columns are multiplied by, a power of two
  const std::uint32_t* columns;  // [in.dim, nonzeros], see SjltEntriesTask
  const void* factors;           // [in.dim, nonzeros]
  void* sums;                    // [sketch_dim, lanes] for a group of at most `lanes` rows, or null: rows go one by one
  bool load_sums;                // from out, first
  bool store_sums;               // to out, at the end
};

}  // namespace fimo

#if defined(FIMO_ISA)
namespace fimo::FIMO_ISA {
namespace {

/// Coordinates by which a group reads ahead.
constexpr std::int64_t kSjltAhead = 512;

template <class Element>
void sjlt_entries(const SjltEntriesTask& task) {
  using T = typename Accumulator<Element>::type;
  const std::uint64_t nonzeros = static_cast<std::uint64_t>(task.nonzeros);
  const T plus = task.nonzeros == 1 ? static_cast<T>(task.scale) : T(1);
  std::uint32_t* columns = task.columns;
  T* factors = static_cast<T*>(task.factors);
  for (std::int64_t j = 0; j < task.count; j += task.period) {
    const std::int64_t coordinates = task.count - j < task.period ? task.count - j : task.period;
    const std::int64_t entries = coordinates * task.nonzeros;
    const std::uint64_t first = (task.first + static_cast<std::uint64_t>(j)) * nonzeros;
    const std::uint64_t last = first + static_cast<std::uint64_t>(entries);
    philox_fill(task.words, first / 4, static_cast<std::int64_t>((last + 3) / 4 - first / 4), 0, kStreamSjlt, task.seed);
    const std::uint32_t* words = task.words + first % 4;
    for (std::int64_t i = 0; i < entries; ++i) {
      const std::uint64_t product = static_cast<std::uint64_t>(words[i] & ~1u) * task.lengths[i];
      columns[i] = (task.starts[i] + static_cast<std::uint32_t>(product >> 32)) * task.column_step;
    }
    for (std::int64_t i = 0; i < entries; ++i) factors[i] = words[i] & 1u ? -plus : plus;
    columns += entries;
    factors += entries;
  }
}

/// Copies sums of a group of rows between out ([row, col]) and the workspace ([col, lane]).
template <class T, bool kStore>
void sjlt_copy_sums(const SjltTask& task, T* sums) {
  using S = Simd<T>;
  constexpr int kLanes = S::kLanes;
  std::int64_t col = task.first_col;
  for (; col + kLanes <= task.last_col; col += kLanes) {
    typename S::Reg square[kLanes];
    T* out = static_cast<T*>(task.out) + col;
    FIMO_UNROLL
    for (int i = 0; i < kLanes; ++i) {
      square[i] = kStore             ? S::load(sums + (col + i) * kLanes)
                  : i < task.in.rows ? S::load(out + i * task.out_row_stride)
                                     : S::zero();
    }
    S::transpose(square);
    FIMO_UNROLL
    for (int i = 0; i < kLanes; ++i) {
      if (!kStore) {
        S::store(sums + (col + i) * kLanes, square[i]);
      } else if (i < task.in.rows) {
        S::store(out + i * task.out_row_stride, square[i]);
      }
    }
  }
  for (; col < task.last_col; ++col) {
    for (std::int64_t r = 0; r < kLanes; ++r) {
      T* out = static_cast<T*>(task.out) + r * task.out_row_stride + col;
      if (kStore) {
        if (r < task.in.rows) *out = sums[col * kLanes + r];
      } else {
        sums[col * kLanes + r] = r < task.in.rows ? *out : T(0);
      }
    }
  }
}

/// Adds `count` nonzeros of one coordinate of a group of rows: x[lane] times factors[i] to sums[columns[i] + lane]. If the
/// sketch has one nonzero a coordinate (kOne), x contains the factor.
template <bool kOne, class T>
FIMO_FORCE_INLINE void sjlt_add(T* sums, const std::uint32_t* columns, const T* factors, std::int64_t count,
                                typename Simd<T>::Reg x) {
  using S = Simd<T>;
  if constexpr (kOne) {
    T* sum = sums + *columns;
    S::store(sum, S::add(S::load(sum), x));
  } else {
    for (std::int64_t i = 0; i < count; ++i) {
      T* sum = sums + columns[i];
      S::store(sum, S::fma(x, S::set(factors[i]), S::load(sum)));
    }
  }
}

/// Adds a group of rows: at most as many as lanes.
template <class Element, bool kOne>
void sjlt_group(const SjltTask& task) {
  using T = typename Accumulator<Element>::type;
  using S = Simd<T>;
  constexpr int kLanes = S::kLanes;
  // Copies: the compiler cannot know that the sums do not overlap the task.
  T* const sums = static_cast<T*>(task.sums);
  const std::int64_t dim = task.in.dim, nonzeros = task.nonzeros, count = task.last_nonzero - task.first_nonzero;
  const std::uint32_t* columns = task.columns + task.first_nonzero;
  const T* factors = static_cast<const T*>(task.factors) + task.first_nonzero;
  const T scale = static_cast<T>(task.in.scale);
  const typename S::Reg scales = S::set(scale);
  // Lanes without a row repeat the last one; what they sum is never read.
  const Element* source[kLanes];
  for (std::int64_t r = 0; r < kLanes; ++r) {
    const std::int64_t row = r < task.in.rows ? r : task.in.rows - 1;
    source[r] = static_cast<const Element*>(task.in.grads) + row * task.in.row_stride;
  }
  std::int64_t j = 0;
  for (; j + kLanes <= dim; j += kLanes) {
    if (j * static_cast<std::int64_t>(sizeof(Element)) % 64 == 0) {
      for (int r = 0; r < kLanes; ++r) prefetch(source[r] + j + kSjltAhead);
    }
    const typename S::Reg factor = kOne ? S::load(factors) : scales;
    typename S::Reg square[kLanes];
    FIMO_UNROLL
    for (int r = 0; r < kLanes; ++r) square[r] = S::mul(S::load(source[r] + j), factor);
    S::transpose(square);
    FIMO_UNROLL
    for (int i = 0; i < kLanes; ++i) {
      sjlt_add<kOne>(sums, columns, factors, count, square[i]);
      columns += kOne ? 1 : nonzeros;
      factors += kOne ? 1 : nonzeros;
    }
  }
  for (; j < dim; ++j) {
    T x[kLanes];
    for (int r = 0; r < kLanes; ++r) x[r] = to_accumulator(source[r][j]) * (kOne ? *factors : scale);
    sjlt_add<kOne>(sums, columns, factors, count, S::load(x));
    columns += nonzeros;
    factors += nonzeros;
  }
}

/// Adds rows one by one.
template <class Element, bool kOne>
void sjlt_rows(const SjltTask& task) {
  using T = typename Accumulator<Element>::type;
  const T scale = static_cast<T>(task.in.scale);
  const T* factors = static_cast<const T*>(task.factors);
  int shift = 0;
  while ((std::int64_t{1} << shift) < task.column_step) ++shift;
  for (std::int64_t row = 0; row < task.in.rows; ++row) {
    const Element* source = static_cast<const Element*>(task.in.grads) + row * task.in.row_stride;
    T* out = static_cast<T*>(task.out) + row * task.out_row_stride;
    for (std::int64_t j = 0; j < task.in.dim; ++j) {
      if constexpr (kOne) {
        out[task.columns[j] >> shift] += to_accumulator(source[j]) * factors[j];
      } else {
        const T x = to_accumulator(source[j]) * scale;
        for (std::int64_t i = j * task.nonzeros + task.first_nonzero; i < j * task.nonzeros + task.last_nonzero; ++i) {
          out[task.columns[i] >> shift] += x * factors[i];
        }
      }
    }
  }
}

template <class Element>
void sjlt(const SjltTask& task) {
  using T = typename Accumulator<Element>::type;
  if (!task.sums) return task.nonzeros == 1 ? sjlt_rows<Element, true>(task) : sjlt_rows<Element, false>(task);
  if (task.load_sums) sjlt_copy_sums<T, false>(task, static_cast<T*>(task.sums));
  task.nonzeros == 1 ? sjlt_group<Element, true>(task) : sjlt_group<Element, false>(task);
  if (task.store_sums) sjlt_copy_sums<T, true>(task, static_cast<T*>(task.sums));
}

}  // namespace
}  // namespace fimo::FIMO_ISA
#endif
