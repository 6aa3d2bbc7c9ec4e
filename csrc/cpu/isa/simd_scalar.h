// SPDX-License-Identifier: Apache-2.0
/// \file
/// The SIMD wrapper, and its portable implementation.
///
/// The kernels are written once against two types; each simd_<isa>.h defines them in the namespace of its instruction set:
///
///   Simd<T> for T = float, double: `Reg` holds kLanes values of T
///     zero, set(x), load(pointer), store(pointer, r), add, sub, mul
///     fma(a, b, c)          a * b + c; one rounding where the instruction set has it (not in this file)
///     fused(a, b, c)        a * b + c with one rounding everywhere, at the price of a library call in this file
///     sign_bits(word)       lane i has the sign bit of T set where bit i of `word` is, and is +0 otherwise
///     flip(x, signs)        x with the sign flipped in the lanes of sign_bits
///     choose(word, first, clear, set)   lane i of `set` where bit first + i of `word` is set, else of `clear`
///     butterfly<H>(x)       lanes i and i + H (bit H of i clear) become x[i] + x[i+H] and x[i] - x[i+H]; H < kLanes
///     gather(base, index)   base[index[i]]
///     transpose(r)          exchanges lane i of r[j] and lane j of r[i], for kLanes registers
///     not_le(a, b)          bit i set where not (a[i] <= b[i]): greater, or one is NaN
///     kGramRows, kGramRegs  rows and registers of the tile of the A B^T kernel
///     sqrt(x)               for float only
///   Simd<int32_t>: zero, set, load, store, add, kGramRows, kGramRegs; fma(row, column, c) adds to each lane of c the inner
///     product of the int8 elements in the words of `row` and `column`
///   DotSimd<Element>, registers along the depth of an inner product: `Side` holds kStep elements in words of type `Word`,
///   which
///     are float, double, or int32_t with kGroup int8 in it; `Sum` holds eight partial sums of floats, or four of doubles
///     load_row(pointer), load_column(pointer)   kStep elements, converted for the left or the right side of `dot`
///     load(pointer), store(pointer, side)       words
///     dot(row, column, sum)  adds the products to the partial sums
///     sum(r)                 ((0+2)+(1+3)) + ((4+6)+(5+7)), of doubles (0+2)+(1+3); sum4(a, b, c, d, out) of four
///     kRows, kVectors        rows and vectors of the tile of the kernel for few vectors
///   kInt8RowBias: what load_row<int8_t> adds to each element
///   SimdU32, with the lanes of Simd<float>: set(x), iota(), add, bit_and, bit_xor, shift_left<N>, shift_right<N>, and
///     multiply(a, m, &high, &low)
///     store_blocks(out, w0, w1, w2, w3)   out[4*i + p] = wp[i]
///     to_float(a)                         the value of a as a signed integer
///     as_float(a), bits_of(r)             the same bits in the other type
///
/// Here a register is a short array; the compiler may use what the baseline of the platform has.
#pragma once

#include <cstdint>

#include "cpu/isa/element.h"

namespace fimo::FIMO_ISA {
namespace {

constexpr bool kHasFma = false;

template <class T, int N>
struct Lanes {
  T v[N];
};

FIMO_FORCE_INLINE float fused_scalar(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
FIMO_FORCE_INLINE double fused_scalar(double a, double b, double c) { return __builtin_fma(a, b, c); }

template <class T, class Bits, int N>
struct ArraySimd {
  using Reg = Lanes<T, N>;
  static constexpr int kLanes = N;
  static constexpr int kGramRows = 4;
  static constexpr int kGramRegs = 1;

  static FIMO_FORCE_INLINE Reg set(T x) {
    Reg r;
    for (int i = 0; i < N; ++i) r.v[i] = x;
    return r;
  }
  static FIMO_FORCE_INLINE Reg zero() { return set(T(0)); }
  template <class Element>
  static FIMO_FORCE_INLINE Reg load(const Element* p) {
    Reg r;
    for (int i = 0; i < N; ++i) r.v[i] = to_accumulator(p[i]);
    return r;
  }
  static FIMO_FORCE_INLINE void store(T* p, Reg r) {
    for (int i = 0; i < N; ++i) p[i] = r.v[i];
  }
  static FIMO_FORCE_INLINE Reg add(Reg a, Reg b) {
    for (int i = 0; i < N; ++i) a.v[i] = a.v[i] + b.v[i];
    return a;
  }
  static FIMO_FORCE_INLINE Reg sub(Reg a, Reg b) {
    for (int i = 0; i < N; ++i) a.v[i] = a.v[i] - b.v[i];
    return a;
  }
  static FIMO_FORCE_INLINE Reg mul(Reg a, Reg b) {
    for (int i = 0; i < N; ++i) a.v[i] = a.v[i] * b.v[i];
    return a;
  }
  static FIMO_FORCE_INLINE Reg fma(Reg a, Reg b, Reg c) { return add(mul(a, b), c); }
  static FIMO_FORCE_INLINE Reg fused(Reg a, Reg b, Reg c) {
    for (int i = 0; i < N; ++i) a.v[i] = fused_scalar(a.v[i], b.v[i], c.v[i]);
    return a;
  }
  static FIMO_FORCE_INLINE Reg sign_bits(std::uint32_t word) {
    Reg r;
    for (int i = 0; i < N; ++i) r.v[i] = flip_by_top_bit(T(0), word << (31 - i));
    return r;
  }
  static FIMO_FORCE_INLINE Reg flip(Reg x, Reg signs) {
    for (int i = 0; i < N; ++i) {
      Bits value, sign;
      __builtin_memcpy(&value, &x.v[i], sizeof value);
      __builtin_memcpy(&sign, &signs.v[i], sizeof sign);
      value ^= sign;
      __builtin_memcpy(&x.v[i], &value, sizeof value);
    }
    return x;
  }
  static FIMO_FORCE_INLINE Reg choose(std::uint32_t word, int first, Reg clear, Reg set) {
    Reg r;
    for (int i = 0; i < N; ++i) r.v[i] = (word >> (first + i)) & 1u ? set.v[i] : clear.v[i];
    return r;
  }
  template <int H>
  static FIMO_FORCE_INLINE Reg butterfly(Reg x) {
    Reg r;
    for (int i = 0; i < N; ++i) r.v[i] = (i & H) ? x.v[i - H] - x.v[i] : x.v[i] + x.v[i + H];
    return r;
  }
  static FIMO_FORCE_INLINE Reg gather(const T* base, const std::int32_t* index) {
    Reg r;
    for (int i = 0; i < N; ++i) r.v[i] = base[index[i]];
    return r;
  }
  static FIMO_FORCE_INLINE void transpose(Reg (&r)[N]) {
    for (int i = 0; i < N; ++i) {
      for (int j = 0; j < i; ++j) {
        const T value = r[i].v[j];
        r[i].v[j] = r[j].v[i];
        r[j].v[i] = value;
      }
    }
  }
  static FIMO_FORCE_INLINE std::uint32_t not_le(Reg a, Reg b) {
    std::uint32_t mask = 0;
    for (int i = 0; i < N; ++i) mask |= static_cast<std::uint32_t>(!(a.v[i] <= b.v[i])) << i;
    return mask;
  }
};

template <class T>
struct Simd;
template <>
struct Simd<float> : ArraySimd<float, std::uint32_t, 4> {
  static FIMO_FORCE_INLINE Reg sqrt(Reg a) {
    for (int i = 0; i < 4; ++i) a.v[i] = __builtin_sqrtf(a.v[i]);
    return a;
  }
};
template <>
struct Simd<double> : ArraySimd<double, std::uint64_t, 2> {};

template <>
struct Simd<std::int32_t> {
  using Reg = Lanes<std::int32_t, 4>;
  static constexpr int kLanes = 4;
  static constexpr int kGramRows = 4;
  static constexpr int kGramRegs = 1;

  static FIMO_FORCE_INLINE Reg set(std::int32_t x) { return {{x, x, x, x}}; }
  static FIMO_FORCE_INLINE Reg zero() { return set(0); }
  static FIMO_FORCE_INLINE Reg load(const std::int32_t* p) { return {{p[0], p[1], p[2], p[3]}}; }
  static FIMO_FORCE_INLINE void store(std::int32_t* p, Reg r) {
    for (int i = 0; i < 4; ++i) p[i] = r.v[i];
  }
  static FIMO_FORCE_INLINE Reg add(Reg a, Reg b) {
    for (int i = 0; i < 4; ++i) a.v[i] += b.v[i];
    return a;
  }
  static FIMO_FORCE_INLINE Reg fma(Reg row, Reg column, Reg c) {
    for (int i = 0; i < 4; ++i) c.v[i] += row.v[i] * column.v[i];
    return c;
  }
};

FIMO_FORCE_INLINE std::int32_t to_word(std::int8_t x) { return x; }
FIMO_FORCE_INLINE float to_word(float x) { return x; }
FIMO_FORCE_INLINE double to_word(double x) { return x; }
FIMO_FORCE_INLINE float to_word(BFloat16 x) { return to_accumulator(x); }
FIMO_FORCE_INLINE float to_word(Float16 x) { return to_accumulator(x); }

template <class Element, class T, int N>
struct ArrayDot {
  using Side = Lanes<T, N>;
  using Sum = Lanes<T, N>;
  using Word = T;
  static constexpr int kGroup = 1;
  static constexpr int kStep = N;
  static constexpr int kRows = 1;
  static constexpr int kVectors = 2;

  static FIMO_FORCE_INLINE Sum zero() { return Sum{}; }
  static FIMO_FORCE_INLINE Side load_row(const Element* p) {
    Side r;
    for (int i = 0; i < N; ++i) r.v[i] = to_word(p[i]);
    return r;
  }
  static FIMO_FORCE_INLINE Side load_column(const Element* p) { return load_row(p); }
  static FIMO_FORCE_INLINE Side load(const T* p) {
    Side r;
    for (int i = 0; i < N; ++i) r.v[i] = p[i];
    return r;
  }
  static FIMO_FORCE_INLINE void store(T* p, Side r) {
    for (int i = 0; i < N; ++i) p[i] = r.v[i];
  }
  static FIMO_FORCE_INLINE Sum dot(Side row, Side column, Sum sum) {
    for (int i = 0; i < N; ++i) sum.v[i] = sum.v[i] + row.v[i] * column.v[i];
    return sum;
  }
  static FIMO_FORCE_INLINE T sum(Sum r) {
    T total = (r.v[0] + r.v[2]) + (r.v[1] + r.v[3]);
    if constexpr (N == 8) total = total + ((r.v[4] + r.v[6]) + (r.v[5] + r.v[7]));
    return total;
  }
  static FIMO_FORCE_INLINE void sum4(Sum a, Sum b, Sum c, Sum d, T* out) {
    out[0] = sum(a);
    out[1] = sum(b);
    out[2] = sum(c);
    out[3] = sum(d);
  }
};

template <class Element>
struct DotSimd : ArrayDot<Element, float, 8> {};
template <>
struct DotSimd<double> : ArrayDot<double, double, 4> {};
template <>
struct DotSimd<std::int8_t> : ArrayDot<std::int8_t, std::int32_t, 8> {};

constexpr std::int32_t kInt8RowBias = 0;

struct SimdU32 {
  using Reg = Lanes<std::uint32_t, 4>;
  static constexpr int kLanes = 4;
  static FIMO_FORCE_INLINE Reg set(std::uint32_t x) { return Reg{{x, x, x, x}}; }
  static FIMO_FORCE_INLINE Reg iota() { return Reg{{0, 1, 2, 3}}; }
  static FIMO_FORCE_INLINE Reg add(Reg a, Reg b) {
    for (int i = 0; i < 4; ++i) a.v[i] += b.v[i];
    return a;
  }
  static FIMO_FORCE_INLINE Reg bit_xor(Reg a, Reg b) {
    for (int i = 0; i < 4; ++i) a.v[i] ^= b.v[i];
    return a;
  }
  static FIMO_FORCE_INLINE Reg bit_and(Reg a, Reg b) {
    for (int i = 0; i < 4; ++i) a.v[i] &= b.v[i];
    return a;
  }
  template <int N>
  static FIMO_FORCE_INLINE Reg shift_left(Reg a) {
    for (int i = 0; i < 4; ++i) a.v[i] <<= N;
    return a;
  }
  template <int N>
  static FIMO_FORCE_INLINE Reg shift_right(Reg a) {
    for (int i = 0; i < 4; ++i) a.v[i] >>= N;
    return a;
  }
  static FIMO_FORCE_INLINE Simd<float>::Reg to_float(Reg a) {
    Simd<float>::Reg r;
    for (int i = 0; i < 4; ++i) r.v[i] = static_cast<float>(static_cast<std::int32_t>(a.v[i]));
    return r;
  }
  static FIMO_FORCE_INLINE Simd<float>::Reg as_float(Reg a) {
    Simd<float>::Reg r;
    __builtin_memcpy(&r, &a, sizeof r);
    return r;
  }
  static FIMO_FORCE_INLINE Reg bits_of(Simd<float>::Reg a) {
    Reg r;
    __builtin_memcpy(&r, &a, sizeof r);
    return r;
  }
  static FIMO_FORCE_INLINE void multiply(Reg a, std::uint32_t m, Reg* high, Reg* low) {
    for (int i = 0; i < 4; ++i) {
      const std::uint64_t product = static_cast<std::uint64_t>(a.v[i]) * m;
      high->v[i] = static_cast<std::uint32_t>(product >> 32);
      low->v[i] = static_cast<std::uint32_t>(product);
    }
  }
  static FIMO_FORCE_INLINE void store_blocks(std::uint32_t* out, Reg w0, Reg w1, Reg w2, Reg w3) {
    for (int i = 0; i < 4; ++i) {
      out[4 * i] = w0.v[i];
      out[4 * i + 1] = w1.v[i];
      out[4 * i + 2] = w2.v[i];
      out[4 * i + 3] = w3.v[i];
    }
  }
};

}  // namespace
}  // namespace fimo::FIMO_ISA
