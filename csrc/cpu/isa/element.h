// SPDX-License-Identifier: Apache-2.0
/// \file
/// 16-bit element types, their conversion to float32, and the accumulator type of each element type. No dependencies: ISA files
/// include this.
#pragma once

#include <cstdint>

#include "fimo_fast/random.h"  // FIMO_FORCE_INLINE

namespace fimo {

struct BFloat16 {
  std::uint16_t bits;
};

struct Float16 {
  std::uint16_t bits;
};

/// Accumulator<Element>::type: double for double, float for the rest.
template <class Element>
struct Accumulator {
  using type = float;
};
template <>
struct Accumulator<double> {
  using type = double;
};

template <class A, class B>
constexpr bool kSame = false;
template <class A>
constexpr bool kSame<A, A> = true;

FIMO_FORCE_INLINE float float_from_bits(std::uint32_t bits) {
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}

FIMO_FORCE_INLINE float to_accumulator(float x) { return x; }
FIMO_FORCE_INLINE double to_accumulator(double x) { return x; }
FIMO_FORCE_INLINE float to_accumulator(BFloat16 x) { return float_from_bits(static_cast<std::uint32_t>(x.bits) << 16); }

/// Every float16 value is a float32 value, so this is exact.
FIMO_FORCE_INLINE float to_accumulator(Float16 x) {
  const std::uint32_t sign = static_cast<std::uint32_t>(x.bits & 0x8000u) << 16;
  const std::uint32_t exponent = (x.bits >> 10) & 0x1fu;
  const std::uint32_t mantissa = x.bits & 0x3ffu;
  if (exponent == 0) {  // zero and subnormals: mantissa * 2^-24
    const float magnitude = static_cast<float>(mantissa) * 5.9604644775390625e-8f;
    return sign ? -magnitude : magnitude;
  }
  const std::uint32_t wide_exponent = exponent == 0x1fu ? 0xffu : exponent + 112u;
  // Quiet bit set on NaN, as the hardware conversion does.
  const std::uint32_t quiet = (exponent == 0x1fu && mantissa != 0) ? 0x400000u : 0u;
  return float_from_bits(sign | (wide_exponent << 23) | (mantissa << 13) | quiet);
}

/// x with its sign flipped where the top bit of `word` is set.
FIMO_FORCE_INLINE float flip_by_top_bit(float x, std::uint32_t word) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  bits ^= word & 0x80000000u;
  __builtin_memcpy(&x, &bits, sizeof bits);
  return x;
}
FIMO_FORCE_INLINE double flip_by_top_bit(double x, std::uint32_t word) {
  std::uint64_t bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  bits ^= static_cast<std::uint64_t>(word & 0x80000000u) << 32;
  __builtin_memcpy(&x, &bits, sizeof bits);
  return x;
}

/// Asks for the cache line at `p` to be brought to the second-level cache. Any address is allowed.
FIMO_FORCE_INLINE void prefetch(const void* p) {
#if defined(__GNUC__) || defined(__clang__)
  __builtin_prefetch(p, 0, 2);
#else
  (void)p;
#endif
}

}  // namespace fimo

#if defined(__clang__)
#define FIMO_UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define FIMO_UNROLL _Pragma("GCC unroll 32")
#else
#define FIMO_UNROLL
#endif
