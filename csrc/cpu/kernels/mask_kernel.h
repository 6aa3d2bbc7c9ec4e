// SPDX-License-Identifier: Apache-2.0
/// \file
/// Mask: out[b, c] += x[b, j(c)] * scale(c), for the sampled coordinates j(c) that the slice holds.
///
/// Floor: one cache line of every row for each output. The coordinates of 256 outputs are found once and used by all rows; the
/// loads of a row do not depend on each other, so their latencies overlap.
#pragma once

#include <cstdint>

#include "common/mask.h"
#include "cpu/kernels/sketch_input.h"

namespace fimo {

/// Adds the outputs [first_col, last_col) of a Mask.
struct MaskTask {
  SketchInput in;
  void* out;
  std::int64_t out_row_stride;
  std::int64_t input_dim;
  std::int64_t sketch_dim;
  std::int64_t first_col;
  std::int64_t last_col;
};

}  // namespace fimo

#if defined(FIMO_ISA)
namespace fimo::FIMO_ISA {
namespace {

template <class Element>
void mask(const MaskTask& task) {
  using T = typename Accumulator<Element>::type;
  constexpr std::int64_t kOutputs = 256;
  std::int64_t at[kOutputs], column[kOutputs];
  T scale[kOutputs];
  for (std::int64_t c = task.first_col; c < task.last_col; c += kOutputs) {
    const std::int64_t end = c + kOutputs < task.last_col ? c + kOutputs : task.last_col;
    std::int64_t count = 0;
    for (std::int64_t output = c; output < end; ++output) {
      const MaskEntry entry = mask_entry(task.input_dim, task.sketch_dim, task.in.seed, output);
      const std::int64_t j = entry.coordinate - static_cast<std::int64_t>(task.in.first_coordinate);
      if (j < 0 || j >= task.in.dim) continue;  // the first and last stratum may reach beyond the slice
      at[count] = j;
      column[count] = output;
      scale[count] = static_cast<T>(__builtin_sqrt(static_cast<double>(entry.length)));
      ++count;
    }
    for (std::int64_t row = 0; row < task.in.rows; ++row) {
      const Element* x = static_cast<const Element*>(task.in.grads) + row * task.in.row_stride;
      T* out = static_cast<T*>(task.out) + row * task.out_row_stride;
      for (std::int64_t i = 0; i < count; ++i) out[column[i]] += to_accumulator(x[at[i]]) * scale[i];
    }
  }
}

}  // namespace
}  // namespace fimo::FIMO_ISA
#endif
