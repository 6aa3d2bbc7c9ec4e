// SPDX-License-Identifier: Apache-2.0
/// \file
/// Rademacher sketch: out[b, c] += sum_j ±(x[b, j] * scale), j in increasing order.
///
/// 128 columns share the Philox block of a coordinate, so the signs of 256 coordinates (4 KB) are generated once and used by
/// all rows of the batch. Inside, kSignRows rows x 32 columns of sums stay in registers; an addition costs one xor and one add,
/// and the two together are what limits this kernel.
#pragma once

#include <cstdint>

#include "kernels.h"
#include "philox_kernel.h"

namespace fimo::FIMO_ISA {
namespace {

constexpr std::int64_t kSignCoordinates = 256;
constexpr std::int64_t kSignColumns = 128;

/// sums[r, 0:32] += ±x[r, j] for j < count; bit i of words[4 * j] set means minus in column i.
template <class T, int Rows>
void add_signed_word(const T* x,                  // [Rows, kSignCoordinates]
                     const std::uint32_t* words,  // [count, 4], at the word of these 32 columns
                     std::int64_t count,
                     T* sums) {  // [Rows, kSignColumns], at the first of these 32 columns
  using S = Simd<T>;
  constexpr int kRegs = 32 / S::kLanes;
  typename S::Reg sum[Rows][kRegs];
  FIMO_UNROLL
  for (int r = 0; r < Rows; ++r) {
    FIMO_UNROLL
    for (int v = 0; v < kRegs; ++v) sum[r][v] = S::load(sums + r * kSignColumns + v * S::kLanes);
  }
  for (std::int64_t j = 0; j < count; ++j) {
    const std::uint32_t word = words[4 * j];
    typename S::Reg value[Rows];
    FIMO_UNROLL
    for (int r = 0; r < Rows; ++r) value[r] = S::set(x[r * kSignCoordinates + j]);
    FIMO_UNROLL
    for (int v = 0; v < kRegs; ++v) {
      const typename S::Reg signs = S::sign_bits(word >> (v * S::kLanes));
      FIMO_UNROLL
      for (int r = 0; r < Rows; ++r) sum[r][v] = S::add(sum[r][v], S::flip(value[r], signs));
    }
  }
  FIMO_UNROLL
  for (int r = 0; r < Rows; ++r) {
    FIMO_UNROLL
    for (int v = 0; v < kRegs; ++v) S::store(sums + r * kSignColumns + v * S::kLanes, sum[r][v]);
  }
}

template <class Element, int Rows>
void rademacher_rows(const RademacherTask& task, std::int64_t row, std::int64_t first, std::int64_t count,
                     const std::uint32_t* words) {
  using T = typename Accumulator<Element>::type;
  T x[Rows * kSignCoordinates];
  T sums[Rows * kSignColumns];
  for (int r = 0; r < Rows; ++r) {
    const Element* source = static_cast<const Element*>(task.in.grads) + (row + r) * task.in.row_stride + first;
    load_scaled(x + r * kSignCoordinates, source, count, task.in.scale);
    const T* out = static_cast<const T*>(task.out) + (row + r) * task.out_row_stride + task.first_col;
    for (std::int64_t c = 0; c < kSignColumns; ++c) sums[r * kSignColumns + c] = c < task.cols ? out[c] : T(0);
  }
  for (std::int64_t c = 0; c < task.cols; c += 32) add_signed_word<T, Rows>(x, words + c / 32, count, sums + c);
  for (int r = 0; r < Rows; ++r) {
    T* out = static_cast<T*>(task.out) + (row + r) * task.out_row_stride + task.first_col;
    for (std::int64_t c = 0; c < task.cols; ++c) out[c] = sums[r * kSignColumns + c];
  }
}

template <class Element>
void rademacher(const RademacherTask& task) {
  constexpr int kRows = Simd<typename Accumulator<Element>::type>::kSignRows;
  std::uint32_t words[4 * kSignCoordinates];
  for (std::int64_t first = 0; first < task.in.dim; first += kSignCoordinates) {
    const std::int64_t left = task.in.dim - first;
    const std::int64_t count = left < kSignCoordinates ? left : kSignCoordinates;
    philox_fill(words, task.in.first_coordinate + static_cast<std::uint64_t>(first), count,
                static_cast<std::uint32_t>(task.first_col / kSignColumns), kStreamRademacher, task.in.seed);
    std::int64_t row = 0;
    for (; row + kRows <= task.in.rows; row += kRows) rademacher_rows<Element, kRows>(task, row, first, count, words);
    for (; row < task.in.rows; ++row) rademacher_rows<Element, 1>(task, row, first, count, words);
  }
}

}  // namespace
}  // namespace fimo::FIMO_ISA
