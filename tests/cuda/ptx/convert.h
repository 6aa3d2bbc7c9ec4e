// SPDX-License-Identifier: Apache-2.0
// Conversions: floats of 16 bits, TF32, and floats to integers.
#pragma once

#include "emulator/cuda_headers.h"
#include "ptx/arithmetic.h"

namespace ptx {

inline float half_value(std::uint16_t x) { return __half2float(__ushort_as_half(x)); }
inline std::uint16_t half_bits(float x) { return __half_as_ushort(__float2half_rn(x)); }

inline float bfloat16_value(std::uint16_t x) { return bits<float>(std::uint32_t{x} << 16); }
/// Rounded to the nearest, of two to the even one.
inline std::uint16_t bfloat16_bits(float x) {
  const auto all = bits<std::uint32_t>(x);
  if (x != x) return 0x7FFF;
  return static_cast<std::uint16_t>((all + 0x7FFFu + (all >> 16 & 1)) >> 16);
}

/// Rounded to 10 bits behind the point, of two away from zero. The 13 bits that do not count are zeros.
inline std::uint32_t rounded_tf32(float x) {
  const auto all = bits<std::uint32_t>(x);
  return std::isfinite(x) ? (all + 0x1000u) & 0xFFFFE000u : all;
}

/// A rounded number as an integer: the nearest there is. NaN is 0 as integers of up to 32 bits from float, else the top bit.
template <class To, class From>
To to_integer(From x) {
  constexpr bool is_signed = std::is_signed<To>::value;
  if (x != x) return sizeof(From) == 4 && sizeof(To) <= 4 ? To{0} : static_cast<To>(Unsigned<To>{1} << (kBits<To> - 1));
  const double value = static_cast<double>(x), end = std::ldexp(1.0, kBits<To> - is_signed);
  if (value >= end) return std::numeric_limits<To>::max();
  if (value < (is_signed ? -end : 0.0)) return std::numeric_limits<To>::min();
  return static_cast<To>(value);
}

}  // namespace ptx
