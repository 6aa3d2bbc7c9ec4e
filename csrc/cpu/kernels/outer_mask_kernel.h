// SPDX-License-Identifier: Apache-2.0
/// \file
/// Mask of outer products: out[b, c] += (sum_t delta[b, t, row(c)] a[b, t, column(c)]) * scale(c).
///
/// Floor: the cache lines that hold sampled elements; from about a sample for every line on, three loads, a product and an
/// addition for each sample and token. Outputs go 2048 at a time, so that their sums, positions and both vectors of a token
/// stay near the core. Gather instructions were slower (Zen 4), and so was prefetching the next rows.
#pragma once

#include <cstdint>

namespace fimo {

/// Adds outputs of a Mask of outer products; `out` points to the first.
struct OuterMaskTask {
  const void* a;      // [examples, tokens, n]
  const void* delta;  // [examples, tokens, m]
  std::int64_t a_batch_stride;
  std::int64_t a_token_stride;
  std::int64_t delta_batch_stride;
  std::int64_t delta_token_stride;
  std::int64_t examples;
  std::int64_t tokens;  // at least 1
  std::int64_t outputs;
  const std::uint32_t* row;     // [outputs], positions in delta
  const std::uint32_t* column;  // [outputs], positions in a
  const void* scale;            // [outputs]
  void* out;
  std::int64_t out_row_stride;
};

}  // namespace fimo

#if defined(FIMO_ISA)
namespace fimo::FIMO_ISA {
namespace {

template <class Element>
void outer_mask(const OuterMaskTask& task) {
  using T = typename Accumulator<Element>::type;
  constexpr std::int64_t kOutputs = 2048;
  T sums[kOutputs];
  const T* scale = static_cast<const T*>(task.scale);
  for (std::int64_t b = 0; b < task.examples; ++b) {
    const Element* a = static_cast<const Element*>(task.a) + b * task.a_batch_stride;
    const Element* delta = static_cast<const Element*>(task.delta) + b * task.delta_batch_stride;
    T* out = static_cast<T*>(task.out) + b * task.out_row_stride;
    for (std::int64_t c = 0; c < task.outputs; c += kOutputs) {
      const std::int64_t count = task.outputs - c < kOutputs ? task.outputs - c : kOutputs;
      const std::uint32_t *row = task.row + c, *column = task.column + c;
      for (std::int64_t i = 0; i < count; ++i) sums[i] = to_accumulator(delta[row[i]]) * to_accumulator(a[column[i]]);
      for (std::int64_t t = 1; t < task.tokens; ++t) {
        const Element *a_t = a + t * task.a_token_stride, *delta_t = delta + t * task.delta_token_stride;
        for (std::int64_t i = 0; i < count; ++i) sums[i] += to_accumulator(delta_t[row[i]]) * to_accumulator(a_t[column[i]]);
      }
      for (std::int64_t i = 0; i < count; ++i) out[c + i] += sums[i] * scale[c + i];
    }
  }
}

}  // namespace
}  // namespace fimo::FIMO_ISA
#endif
