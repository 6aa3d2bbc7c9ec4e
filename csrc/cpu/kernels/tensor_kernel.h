// SPDX-License-Identifier: Apache-2.0
/// \file
/// TensorSketch: sums = WHT(sum_t WHT(C_a a_t) * WHT(C_delta delta_t)) / k, with CountSketches C_a and C_delta.
///
/// Floor of a token: n + m additions to random places, 2 k log2(k) additions of the transforms, k products. All of it happens
/// in three rows of k numbers, in the first-level cache for k up to 2048. Token by token, not in groups of lanes: a group would
/// have to transpose n + m numbers in and 2 k out for each token, which costs more than the additions. Products are rounded
/// before they are added, so the bits are the same for every instruction set.
#pragma once

#include <cstdint>

#include "cpu/kernels/hadamard_kernel.h"
#include "cpu/kernels/philox_kernel.h"

namespace fimo {

/// The columns of a CountSketch: where each coordinate goes and its sign, 1 or -1 in the accumulator type.
struct CountSketchColumns {
  const std::uint32_t* bucket;  // [count]
  const void* sign;             // [count]
  std::int64_t count;
};

/// The TensorSketch of some tokens of one example.
struct TensorTask {
  const void* a;  // [tokens, a_columns.count]
  std::int64_t a_token_stride;
  const void* delta;  // [tokens, delta_columns.count]
  std::int64_t delta_token_stride;
  std::int64_t tokens;  // at least 1
  CountSketchColumns a_columns;
  CountSketchColumns delta_columns;
  std::int64_t sketch_dim;  // a power of two
  void* a_sketch;           // [sketch_dim], scratch
  void* delta_sketch;       // [sketch_dim], scratch
  void* sums;               // [sketch_dim], the result
};

}  // namespace fimo

#if defined(FIMO_ISA)
namespace fimo::FIMO_ISA {
namespace {

/// The buckets and signs of an SJLT with one nonzero, see sjlt_kernel.h.
template <class T>
void count_sketch_columns(std::uint64_t seed, std::int64_t sketch_dim, std::int64_t columns, std::uint32_t* bucket,
                          void* sign) {
  constexpr std::int64_t kBlocks = 64;
  std::uint32_t words[4 * kBlocks];
  T* signs = static_cast<T*>(sign);
  for (std::int64_t first = 0; first < columns; first += 4 * kBlocks) {
    const std::int64_t count = columns - first < 4 * kBlocks ? columns - first : 4 * kBlocks;
    philox_fill(words, static_cast<std::uint64_t>(first) / 4, (count + 3) / 4, 0, kStreamSjlt, seed);
    for (std::int64_t i = 0; i < count; ++i) {
      bucket[first + i] = static_cast<std::uint32_t>(((words[i] >> 1) * static_cast<std::uint64_t>(sketch_dim)) >> 31);
      signs[first + i] = words[i] & 1 ? T(-1) : T(1);
    }
  }
}

/// sums = the CountSketch of x.
template <class T, class Element>
void count_sketch(const Element* x, const CountSketchColumns& columns, T* sums, std::int64_t sketch_dim) {
  using S = Simd<T>;
  constexpr std::int64_t kSome = 128;
  T signed_x[kSome];
  const T* signs = static_cast<const T*>(columns.sign);
  for (std::int64_t c = 0; c < sketch_dim; ++c) sums[c] = T(0);
  for (std::int64_t first = 0; first < columns.count; first += kSome) {
    const std::int64_t count = columns.count - first < kSome ? columns.count - first : kSome;
    std::int64_t i = 0;
    for (; i + S::kLanes <= count; i += S::kLanes) {
      S::store(signed_x + i, S::mul(S::load(x + first + i), S::load(signs + first + i)));
    }
    for (; i < count; ++i) signed_x[i] = to_accumulator(x[first + i]) * signs[first + i];
    const std::uint32_t* bucket = columns.bucket + first;
    for (i = 0; i < count; ++i) sums[bucket[i]] += signed_x[i];
  }
}

template <class Element>
void tensor(const TensorTask& task) {
  using T = typename Accumulator<Element>::type;
  using S = Simd<T>;
  T *a = static_cast<T*>(task.a_sketch), *delta = static_cast<T*>(task.delta_sketch), *sums = static_cast<T*>(task.sums);
  for (std::int64_t t = 0; t < task.tokens; ++t) {
    count_sketch(static_cast<const Element*>(task.a) + t * task.a_token_stride, task.a_columns, a, task.sketch_dim);
    count_sketch(static_cast<const Element*>(task.delta) + t * task.delta_token_stride, task.delta_columns, delta,
                 task.sketch_dim);
    Hadamard<T>::transform(a, task.sketch_dim);
    Hadamard<T>::transform(delta, task.sketch_dim);
    std::int64_t c = 0;
    for (; c + S::kLanes <= task.sketch_dim; c += S::kLanes) {
      const typename S::Reg product = S::mul(S::load(a + c), S::load(delta + c));
      S::store(sums + c, t > 0 ? S::add(S::load(sums + c), product) : product);
    }
    for (; c < task.sketch_dim; ++c) sums[c] = t > 0 ? sums[c] + a[c] * delta[c] : a[c] * delta[c];
  }
  const T inverse = T(1) / static_cast<T>(task.sketch_dim);  // exact: a power of two
  for (std::int64_t c = 0; c < task.sketch_dim; ++c) sums[c] *= inverse;
  Hadamard<T>::transform(sums, task.sketch_dim);
}

/// out[i] += x[i].
template <class T>
void add(void* out, const void* x, std::int64_t count) {
  using S = Simd<T>;
  T* sum = static_cast<T*>(out);
  const T* term = static_cast<const T*>(x);
  std::int64_t i = 0;
  for (; i + S::kLanes <= count; i += S::kLanes) S::store(sum + i, S::add(S::load(sum + i), S::load(term + i)));
  for (; i < count; ++i) sum[i] += term[i];
}

}  // namespace
}  // namespace fimo::FIMO_ISA
#endif
