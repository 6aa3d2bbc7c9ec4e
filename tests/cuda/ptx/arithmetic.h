// SPDX-License-Identifier: Apache-2.0
// Instructions of PTX that are no operator of C++, after the PTX ISA, "Instruction Set".
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "emulator/scheduler.h"

namespace ptx {

template <class T>
constexpr unsigned kBits = 8 * sizeof(T);
template <class T>
using Unsigned = typename std::make_unsigned<T>::type;
__extension__ using Int128 = __int128;
__extension__ using Uint128 = unsigned __int128;

template <class To, class From>
To bits(From from) {
  static_assert(sizeof(To) == sizeof(From), "the same bits");
  return __builtin_bit_cast(To, from);
}

// --- Floating point ----------------------------------------------------------------------------------------------------------

/// .ftz: denormal numbers are zeros of the same sign.
inline float flushed(float x) { return std::fabs(x) < std::numeric_limits<float>::min() ? std::copysign(0.0f, x) : x; }
/// .sat: to [0, 1], NaN to 0.
template <class T>
T saturated(T x) {
  return x >= 1 ? T{1} : x > 0 ? x : T{0};
}
template <class T>
T reciprocal_root(T x) {
  return static_cast<T>(1 / std::sqrt(static_cast<double>(x)));
}

/// The one that is a number, if only one is; -0 is less than 0.
template <class T>
T least(T a, T b) {
  if constexpr (std::is_floating_point<T>::value) {
    if (a != a || b != b) return a != a ? b : a;
    if (a == b) return std::signbit(a) ? a : b;
  }
  return b < a ? b : a;
}
template <class T>
T greatest(T a, T b) {
  if constexpr (std::is_floating_point<T>::value) {
    if (a != a || b != b) return a != a ? b : a;
    if (a == b) return std::signbit(a) ? b : a;
  }
  return a < b ? b : a;
}

// --- Integers ----------------------------------------------------------------------------------------------------------------

template <class T>
T quotient(T a, T b) {
  if (b == 0) emulator::fail("division by zero");
  if (std::is_signed<T>::value && b == static_cast<T>(-1)) return static_cast<T>(0 - a);
  return static_cast<T>(a / b);
}
template <class T>
T remainder_of(T a, T b) {
  if (b == 0) emulator::fail("division by zero");
  if (std::is_signed<T>::value && b == static_cast<T>(-1)) return 0;
  return static_cast<T>(a % b);
}

template <class T>
T high_product(T a, T b) {
  using Wide = std::conditional_t<std::is_signed<T>::value, Int128, Uint128>;
  return static_cast<T>(static_cast<Wide>(a) * static_cast<Wide>(b) >> kBits<T>);
}

// With the condition code's carry: out, in, or both. That of a difference is the borrow.
template <class T>
T add_out(unsigned& carry, T a, T b) {
  carry = static_cast<T>(a + b) < a;
  return static_cast<T>(a + b);
}
template <class T>
T add_in_out(unsigned& carry, T a, T b) {
  const Uint128 sum = Uint128{a} + b + carry;
  carry = static_cast<unsigned>(sum >> kBits<T>);
  return static_cast<T>(sum);
}
template <class T>
T add_in(unsigned carry, T a, T b) {
  return add_in_out(carry, a, b);
}
template <class T>
T sub_out(unsigned& carry, T a, T b) {
  carry = a < b;
  return static_cast<T>(a - b);
}
template <class T>
T sub_in_out(unsigned& carry, T a, T b) {
  const Uint128 subtracted = Uint128{b} + carry;
  carry = a < subtracted;
  return static_cast<T>(a - subtracted);
}
template <class T>
T sub_in(unsigned carry, T a, T b) {
  return sub_in_out(carry, a, b);
}

/// Shifts by more than the width leave nothing, or the sign.
template <class T>
T shifted_left(T a, unsigned by) {
  return by >= kBits<T> ? T{0} : static_cast<T>(a << by);
}
template <class T>
T shifted_right(T a, unsigned by) {
  if (by >= kBits<T>) return static_cast<T>(std::is_signed<T>::value && a < 0 ? -1 : 0);
  return static_cast<T>(a >> by);
}

/// The upper (l) or lower (r) word of (high, low) shifted.
inline std::uint32_t funnel_l_wrap(std::uint32_t low, std::uint32_t high, unsigned by) {
  return static_cast<std::uint32_t>((std::uint64_t{high} << 32 | low) << (by & 31) >> 32);
}
inline std::uint32_t funnel_r_wrap(std::uint32_t low, std::uint32_t high, unsigned by) {
  return static_cast<std::uint32_t>((std::uint64_t{high} << 32 | low) >> (by & 31));
}
inline std::uint32_t funnel_l_clamp(std::uint32_t low, std::uint32_t high, unsigned by) {
  return by >= 32 ? low : funnel_l_wrap(low, high, by);
}
inline std::uint32_t funnel_r_clamp(std::uint32_t low, std::uint32_t high, unsigned by) {
  return by >= 32 ? high : funnel_r_wrap(low, high, by);
}

/// Bit 4 a + 2 b + c of the table, for each bit of the operands.
template <unsigned kTable>
std::uint32_t lop3(std::uint32_t a, std::uint32_t b, std::uint32_t c) {
  std::uint32_t result = 0;
  for (unsigned i = 0; i < 8; ++i) {
    if (kTable >> i & 1) result |= (i & 4 ? a : ~a) & (i & 2 ? b : ~b) & (i & 1 ? c : ~c);
  }
  return result;
}

/// prmt: each byte of the result is one of the eight of (b, a), or copies of its sign.
inline std::uint32_t permuted(std::uint32_t a, std::uint32_t b, std::uint32_t selector) {
  const std::uint64_t bytes = std::uint64_t{b} << 32 | a;
  std::uint32_t result = 0;
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned choice = selector >> (4 * i);
    const auto byte = static_cast<std::int8_t>(bytes >> (8 * (choice & 7)));
    result |= (choice & 8 ? (byte < 0 ? 0xFFu : 0u) : static_cast<std::uint8_t>(byte)) << (8 * i);
  }
  return result;
}

/// bfe: `length` bits from bit `begin` on, behind the last one copies of the sign (or zeros).
template <class T>
T extracted(T a, unsigned begin, unsigned length) {
  begin &= 255, length &= 255;
  T result = 0;
  const unsigned last = begin + length - 1 < kBits<T> - 1 ? begin + length - 1 : kBits<T> - 1;
  const bool fill = std::is_signed<T>::value && length && (a >> last & 1);
  for (unsigned i = 0; i < kBits<T>; ++i) {
    const bool bit = i < length && begin + i < kBits<T> ? (a >> (begin + i) & 1) : fill;
    result = static_cast<T>(result | static_cast<T>(bit) << i);
  }
  return result;
}
/// bfi: b with `length` bits from `begin` on replaced by the lowest of a.
template <class T>
T inserted(T a, T b, unsigned begin, unsigned length) {
  begin &= 255, length &= 255;
  if (begin >= kBits<T>) return b;
  const T mask = (length >= kBits<T> ? ~T{0} : (T{1} << length) - 1) << begin;
  return (b & ~mask) | (a << begin & mask);
}

template <class T>
T reversed(T a) {
  T result = 0;
  for (unsigned i = 0; i < kBits<T>; ++i) result |= (a >> i & 1) << (kBits<T> - 1 - i);
  return result;
}
template <class T>
std::uint32_t ones(T a) {
  return static_cast<std::uint32_t>(__builtin_popcountll(a));
}
template <class T>
std::uint32_t leading_zeros(T a) {
  return a ? static_cast<std::uint32_t>(__builtin_clzll(a)) - (64 - kBits<T>) : kBits<T>;
}
/// Of negative numbers the highest bit that is no copy of the sign; all ones where there is none.
template <class T>
std::uint32_t highest_bit(T a) {
  const auto found = static_cast<Unsigned<T>>(a < 0 ? ~a : a);
  return found ? kBits<T> - 1 - leading_zeros(found) : 0xFFFFFFFFu;
}
/// By how much to shift left so that it becomes the highest.
template <class T>
std::uint32_t shift_of_highest_bit(T a) {
  const std::uint32_t bit = highest_bit(a);
  return bit == 0xFFFFFFFFu ? bit : kBits<T> - 1 - bit;
}

/// dp4a: c + the inner product of four bytes.
template <class A, class B, class T>
T byte_dot(std::uint32_t a, std::uint32_t b, T c) {
  for (unsigned i = 0; i < 4; ++i) {
    c += static_cast<T>(static_cast<A>(a >> (8 * i)) * static_cast<B>(b >> (8 * i)));
  }
  return c;
}

}  // namespace ptx
