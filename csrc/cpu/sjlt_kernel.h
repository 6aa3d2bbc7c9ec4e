// SPDX-License-Identifier: Apache-2.0
/// \file
/// SJLT (sparse Johnson-Lindenstrauss): out[b, bucket(j, r)] += ±(x[b, j] * scale), j in increasing order.
///
/// Buckets and signs of a few hundred coordinates are generated once and used by all rows. Rows go in groups of one register:
/// the sums of a group are kept transposed, [cols, lanes], so that a nonzero is one load, xor, add and store for the whole
/// group, with no gather or scatter. Row by row only where a group would be mostly padding, or where its sums would not fit
/// the caches (the driver passes no `sums` then). Both ways add in the same order, so they give the same bits.
#pragma once

#include <cstdint>

#include "kernels.h"
#include "philox_kernel.h"

namespace fimo::FIMO_ISA {
namespace {

/// Fills task.entries with (sign << 31 | output column - first_col) of `count` coordinates from `first` on.
void sjlt_entries(const SjltTask& task, std::uint64_t first, std::int64_t count) {
  const std::uint64_t nonzeros = static_cast<std::uint64_t>(task.nonzeros);
  const std::uint64_t first_word = first * nonzeros;
  const std::uint64_t last_word = first_word + static_cast<std::uint64_t>(count) * nonzeros;
  const std::uint64_t first_block = first_word / 4;
  philox_fill(task.words, first_block, static_cast<std::int64_t>((last_word + 3) / 4 - first_block), 0, kStreamSjlt,
              task.in.seed);
  const std::uint32_t* words = task.words + (first_word - 4 * first_block);
  const std::int64_t first_col = task.block_start[task.first_nonzero];
  std::uint32_t* entry = task.entries;
  for (std::int64_t j = 0; j < count; ++j) {
    for (std::int64_t r = task.first_nonzero; r < task.last_nonzero; ++r) {
      const std::uint32_t word = words[j * task.nonzeros + r];
      const std::uint64_t length = static_cast<std::uint64_t>(task.block_start[r + 1] - task.block_start[r]);
      const std::uint32_t bucket = static_cast<std::uint32_t>(((word >> 1) * length) >> 31);
      *entry++ = (word << 31) | (static_cast<std::uint32_t>(task.block_start[r] - first_col) + bucket);
    }
  }
}

/// Copies sums of a group of rows between out ([row, col]) and the transposed workspace ([col, lane]).
template <class T, bool kStore>
void sjlt_transpose_sums(const SjltTask& task, std::int64_t row, std::int64_t rows, T* sums) {
  constexpr int kLanes = Simd<T>::kLanes;
  const std::int64_t first_col = task.block_start[task.first_nonzero];
  const std::int64_t cols = task.block_start[task.last_nonzero] - first_col;
  for (std::int64_t r = 0; r < kLanes; ++r) {
    T* out = static_cast<T*>(task.out) + (row + r) * task.out_row_stride + first_col;
    if constexpr (kStore) {
      if (r < rows) {
        for (std::int64_t c = 0; c < cols; ++c) out[c] = sums[c * kLanes + r];
      }
    } else {
      for (std::int64_t c = 0; c < cols; ++c) sums[c * kLanes + r] = r < rows ? out[c] : T(0);
    }
  }
}

template <class Element>
void sjlt_group(const SjltTask& task, std::int64_t row, std::int64_t rows, std::int64_t first, std::int64_t count,
                typename Accumulator<Element>::type* sums) {
  using T = typename Accumulator<Element>::type;
  using S = Simd<T>;
  T* transposed = static_cast<T*>(task.transposed);
  T scaled[64];
  for (std::int64_t r = 0; r < S::kLanes; ++r) {
    const Element* source = static_cast<const Element*>(task.in.grads) + (row + r) * task.in.row_stride + first;
    for (std::int64_t j = 0; j < count; j += 64) {
      const std::int64_t part = count - j < 64 ? count - j : 64;
      if (r < rows) {
        load_scaled(scaled, source + j, part, task.in.scale);
      } else {
        for (std::int64_t i = 0; i < part; ++i) scaled[i] = T(0);
      }
      for (std::int64_t i = 0; i < part; ++i) transposed[(j + i) * S::kLanes + r] = scaled[i];
    }
  }
  const std::uint32_t* entry = task.entries;
  const std::int64_t per_coordinate = task.last_nonzero - task.first_nonzero;
  for (std::int64_t j = 0; j < count; ++j) {
    const typename S::Reg x = S::load(transposed + j * S::kLanes);
    for (std::int64_t r = 0; r < per_coordinate; ++r) {
      const std::uint32_t e = *entry++;
      T* sum = sums + static_cast<std::int64_t>(e & 0x7FFFFFFFu) * S::kLanes;
      const typename S::Reg sign = S::set(flip_by_top_bit(T(0), e));
      S::store(sum, S::add(S::load(sum), S::flip(x, sign)));
    }
  }
}

template <class Element>
void sjlt_row(const SjltTask& task, std::int64_t row, std::int64_t first, std::int64_t count) {
  using T = typename Accumulator<Element>::type;
  const Element* source = static_cast<const Element*>(task.in.grads) + row * task.in.row_stride + first;
  T* out = static_cast<T*>(task.out) + row * task.out_row_stride + task.block_start[task.first_nonzero];
  const T scale = static_cast<T>(task.in.scale);
  const std::uint32_t* entry = task.entries;
  const std::int64_t per_coordinate = task.last_nonzero - task.first_nonzero;
  for (std::int64_t j = 0; j < count; ++j) {
    const T x = to_accumulator(source[j]) * scale;
    for (std::int64_t r = 0; r < per_coordinate; ++r) {
      const std::uint32_t e = *entry++;
      out[e & 0x7FFFFFFFu] += flip_by_top_bit(x, e);
    }
  }
}

template <class Element>
void sjlt(const SjltTask& task) {
  using T = typename Accumulator<Element>::type;
  constexpr int kLanes = Simd<T>::kLanes;
  const std::int64_t cols = task.block_start[task.last_nonzero] - task.block_start[task.first_nonzero];
  // The last rows form a group only if they fill at least a quarter of it.
  std::int64_t grouped = 0;
  if (task.sums) {
    grouped = task.in.rows - task.in.rows % kLanes;
    if (4 * (task.in.rows - grouped) >= kLanes) grouped = task.in.rows;
  }
  T* sums = static_cast<T*>(task.sums);
  const std::int64_t group_size = cols * kLanes;
  for (std::int64_t row = 0; row < grouped; row += kLanes) {
    sjlt_transpose_sums<T, false>(task, row, grouped - row, sums + row / kLanes * group_size);
  }
  for (std::int64_t first = 0; first < task.in.dim; first += task.coordinates) {
    const std::int64_t left = task.in.dim - first;
    const std::int64_t count = left < task.coordinates ? left : task.coordinates;
    sjlt_entries(task, task.in.first_coordinate + static_cast<std::uint64_t>(first), count);
    for (std::int64_t row = 0; row < grouped; row += kLanes) {
      sjlt_group<Element>(task, row, grouped - row, first, count, sums + row / kLanes * group_size);
    }
    for (std::int64_t row = grouped; row < task.in.rows; ++row) sjlt_row<Element>(task, row, first, count);
  }
  for (std::int64_t row = 0; row < grouped; row += kLanes) {
    sjlt_transpose_sums<T, true>(task, row, grouped - row, sums + row / kLanes * group_size);
  }
}

}  // namespace
}  // namespace fimo::FIMO_ISA
