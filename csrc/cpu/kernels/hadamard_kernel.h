// SPDX-License-Identifier: Apache-2.0
/// \file
/// TensorSketch: WHT(sum_t WHT(a_t) * WHT(delta_t)) / k of the CountSketches a_t and delta_t of some tokens.
///
/// The Walsh-Hadamard transform is the in-place one with strides 1, 2, 4, ..., k/2, and products are rounded before they are
/// added, so the bits are the same for every instruction set.
/// Floor: 2 log2(k) k additions and k multiply-adds a token, in the first-level cache for k up to 4096 or so. Eight registers
/// at a time take three strides (and the first ones all strides within a register too), so most additions see no memory.
#pragma once

#include <cstdint>

#if defined(FIMO_ISA)
namespace fimo::FIMO_ISA {
namespace {

template <class T>
struct Hadamard {
  using S = Simd<T>;
  using Reg = typename S::Reg;
  static constexpr std::int64_t kPart = 16384 / sizeof(T);  // strides below this run part by part, in the first-level cache

  /// Strides within a register.
  template <int H = 1>
  static FIMO_FORCE_INLINE Reg within(Reg x) {
    if constexpr (H < S::kLanes) {
      return within<2 * H>(S::template butterfly<H>(x));
    } else {
      return x;
    }
  }

  /// Strides 1, 2, ..., R / 2, counted in registers.
  template <int R, int H = 1>
  static FIMO_FORCE_INLINE void between(Reg (&r)[R]) {
    if constexpr (H < R) {
      FIMO_UNROLL
      for (int i = 0; i < R; ++i) {
        if (i & H) continue;
        const Reg sum = S::add(r[i], r[i + H]);
        r[i + H] = S::sub(r[i], r[i + H]);
        r[i] = sum;
      }
      between<R, 2 * H>(r);
    }
  }

  /// All strides below R * lanes, or (kFirst false) strides h, 2 h, ..., R h / 2, of x[0:size].
  template <int R, bool kFirst>
  static void pass(T* x, std::int64_t size, std::int64_t h) {
    for (std::int64_t base = 0; base < size; base += R * h) {
      for (std::int64_t i = base; i < base + h; i += S::kLanes) {
        Reg r[R];
        FIMO_UNROLL
        for (int q = 0; q < R; ++q) r[q] = kFirst ? within(S::load(x + i + q * h)) : S::load(x + i + q * h);
        between(r);
        FIMO_UNROLL
        for (int q = 0; q < R; ++q) S::store(x + i + q * h, r[q]);
      }
    }
  }

  /// Strides h, 2 h, ..., end / 2 of x[0:size].
  static void passes(T* x, std::int64_t size, std::int64_t h, std::int64_t end) {
    for (; 8 * h <= end; h *= 8) pass<8, false>(x, size, h);
    if (4 * h <= end) {
      pass<4, false>(x, size, h);
    } else if (2 * h <= end) {
      pass<2, false>(x, size, h);
    }
  }

  static void transform(T* x, std::int64_t size) {
    constexpr std::int64_t kLanes = S::kLanes;
    if (size < kLanes) {
      for (std::int64_t h = 1; h < size; h *= 2) {
        for (std::int64_t i = 0; i < size; ++i) {
          if (i & h) continue;
          const T sum = x[i] + x[i + h];
          x[i + h] = x[i] - x[i + h];
          x[i] = sum;
        }
      }
    } else if (size < 8 * kLanes) {
      if (size == kLanes) pass<1, true>(x, size, kLanes);
      if (size == 2 * kLanes) pass<2, true>(x, size, kLanes);
      if (size == 4 * kLanes) pass<4, true>(x, size, kLanes);
    } else {
      const std::int64_t part = size < kPart ? size : kPart;
      for (std::int64_t first = 0; first < size; first += part) {
        pass<8, true>(x + first, part, kLanes);
        passes(x + first, part, 8 * kLanes, part);
      }
      passes(x, size, part, size);
    }
  }
};

}  // namespace
}  // namespace fimo::FIMO_ISA
#endif
