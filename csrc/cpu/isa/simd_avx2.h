// SPDX-License-Identifier: Apache-2.0
/// \file
/// The SIMD wrapper (see simd_scalar.h) on AVX2 with FMA and F16C: 16 registers of 256 bits.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "cpu/isa/element.h"

namespace fimo::FIMO_ISA {
namespace {

constexpr bool kHasFma = true;

template <class T>
struct Simd;

template <>
struct Simd<float> {
  using Reg = __m256;
  static constexpr int kLanes = 8;
  static constexpr int kGramRows = 6;  // 6 x 2 accumulators, 2 columns, 1 broadcast: 15 of 16 registers
  static constexpr int kGramRegs = 2;

  static FIMO_FORCE_INLINE Reg zero() { return _mm256_setzero_ps(); }
  static FIMO_FORCE_INLINE Reg set(float x) { return _mm256_set1_ps(x); }
  static FIMO_FORCE_INLINE Reg load(const float* p) { return _mm256_loadu_ps(p); }
  static FIMO_FORCE_INLINE Reg load(const BFloat16* p) {
    const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
  }
  static FIMO_FORCE_INLINE Reg load(const Float16* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static FIMO_FORCE_INLINE void store(float* p, Reg r) { _mm256_storeu_ps(p, r); }
  static FIMO_FORCE_INLINE Reg add(Reg a, Reg b) { return _mm256_add_ps(a, b); }
  static FIMO_FORCE_INLINE Reg sub(Reg a, Reg b) { return _mm256_sub_ps(a, b); }
  static FIMO_FORCE_INLINE Reg mul(Reg a, Reg b) { return _mm256_mul_ps(a, b); }
  static FIMO_FORCE_INLINE Reg fma(Reg a, Reg b, Reg c) { return _mm256_fmadd_ps(a, b, c); }
  static FIMO_FORCE_INLINE Reg fused(Reg a, Reg b, Reg c) { return fma(a, b, c); }
  static FIMO_FORCE_INLINE Reg sqrt(Reg a) { return _mm256_sqrt_ps(a); }
  static FIMO_FORCE_INLINE Reg sign_bits(std::uint32_t word) {
    const __m256i shift = _mm256_setr_epi32(31, 30, 29, 28, 27, 26, 25, 24);
    const __m256i bits = _mm256_sllv_epi32(_mm256_set1_epi32(static_cast<int>(word)), shift);
    return _mm256_and_ps(_mm256_castsi256_ps(bits), _mm256_set1_ps(-0.0f));
  }
  static FIMO_FORCE_INLINE Reg flip(Reg x, Reg signs) { return _mm256_xor_ps(x, signs); }
  static FIMO_FORCE_INLINE Reg choose(std::uint32_t word, int first, Reg clear, Reg set) {
    const __m256i shift = _mm256_sub_epi32(_mm256_setr_epi32(31, 30, 29, 28, 27, 26, 25, 24), _mm256_set1_epi32(first));
    const __m256i bits = _mm256_sllv_epi32(_mm256_set1_epi32(static_cast<int>(word)), shift);
    return _mm256_blendv_ps(clear, set, _mm256_castsi256_ps(bits));
  }
  template <int H>
  static FIMO_FORCE_INLINE Reg butterfly(Reg x) {
    Reg swapped, ones;
    if constexpr (H == 1) {
      swapped = _mm256_permute_ps(x, 0xB1);
      ones = _mm256_setr_ps(1.f, -1.f, 1.f, -1.f, 1.f, -1.f, 1.f, -1.f);
    } else if constexpr (H == 2) {
      swapped = _mm256_permute_ps(x, 0x4E);
      ones = _mm256_setr_ps(1.f, 1.f, -1.f, -1.f, 1.f, 1.f, -1.f, -1.f);
    } else {
      static_assert(H == 4, "H must be below kLanes");
      swapped = _mm256_permute2f128_ps(x, x, 0x01);
      ones = _mm256_setr_ps(1.f, 1.f, 1.f, 1.f, -1.f, -1.f, -1.f, -1.f);
    }
    return _mm256_fmadd_ps(x, ones, swapped);  // a product with 1 or -1 is exact, and multipliers idle here
  }
  static FIMO_FORCE_INLINE Reg gather(const float* base, const std::int32_t* index) {
    return _mm256_i32gather_ps(base, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(index)), 4);
  }
  static FIMO_FORCE_INLINE void transpose(Reg (&r)[8]) {
    Reg pairs[8], quads[8];
    FIMO_UNROLL
    for (int i = 0; i < 8; i += 2) {
      pairs[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
      pairs[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    FIMO_UNROLL
    for (int i = 0; i < 8; i += 4) {
      quads[i] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0x44);
      quads[i + 1] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0xEE);
      quads[i + 2] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0x44);
      quads[i + 3] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0xEE);
    }
    FIMO_UNROLL
    for (int i = 0; i < 4; ++i) {
      r[i] = _mm256_permute2f128_ps(quads[i], quads[i + 4], 0x20);
      r[i + 4] = _mm256_permute2f128_ps(quads[i], quads[i + 4], 0x31);
    }
  }
  static FIMO_FORCE_INLINE std::uint32_t not_le(Reg a, Reg b) {
    return static_cast<std::uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_NLE_UQ)));
  }
};

template <>
struct Simd<double> {
  using Reg = __m256d;
  static constexpr int kLanes = 4;
  static constexpr int kGramRows = 6;
  static constexpr int kGramRegs = 2;

  static FIMO_FORCE_INLINE Reg zero() { return _mm256_setzero_pd(); }
  static FIMO_FORCE_INLINE Reg set(double x) { return _mm256_set1_pd(x); }
  static FIMO_FORCE_INLINE Reg load(const double* p) { return _mm256_loadu_pd(p); }
  static FIMO_FORCE_INLINE void store(double* p, Reg r) { _mm256_storeu_pd(p, r); }
  static FIMO_FORCE_INLINE Reg add(Reg a, Reg b) { return _mm256_add_pd(a, b); }
  static FIMO_FORCE_INLINE Reg sub(Reg a, Reg b) { return _mm256_sub_pd(a, b); }
  static FIMO_FORCE_INLINE Reg mul(Reg a, Reg b) { return _mm256_mul_pd(a, b); }
  static FIMO_FORCE_INLINE Reg fma(Reg a, Reg b, Reg c) { return _mm256_fmadd_pd(a, b, c); }
  static FIMO_FORCE_INLINE Reg fused(Reg a, Reg b, Reg c) { return fma(a, b, c); }
  static FIMO_FORCE_INLINE Reg sign_bits(std::uint32_t word) {
    const __m256i bits =
        _mm256_sllv_epi64(_mm256_set1_epi64x(static_cast<long long>(word)), _mm256_setr_epi64x(63, 62, 61, 60));
    return _mm256_and_pd(_mm256_castsi256_pd(bits), _mm256_set1_pd(-0.0));
  }
  static FIMO_FORCE_INLINE Reg flip(Reg x, Reg signs) { return _mm256_xor_pd(x, signs); }
  static FIMO_FORCE_INLINE Reg choose(std::uint32_t word, int first, Reg clear, Reg set) {
    const __m256i shift = _mm256_sub_epi64(_mm256_setr_epi64x(63, 62, 61, 60), _mm256_set1_epi64x(first));
    const __m256i bits = _mm256_sllv_epi64(_mm256_set1_epi64x(static_cast<long long>(word)), shift);
    return _mm256_blendv_pd(clear, set, _mm256_castsi256_pd(bits));
  }
  template <int H>
  static FIMO_FORCE_INLINE Reg butterfly(Reg x) {
    Reg swapped, ones;
    if constexpr (H == 1) {
      swapped = _mm256_permute_pd(x, 0x5);
      ones = _mm256_setr_pd(1., -1., 1., -1.);
    } else {
      static_assert(H == 2, "H must be below kLanes");
      swapped = _mm256_permute2f128_pd(x, x, 0x01);
      ones = _mm256_setr_pd(1., 1., -1., -1.);
    }
    return _mm256_fmadd_pd(x, ones, swapped);
  }
  static FIMO_FORCE_INLINE Reg gather(const double* base, const std::int32_t* index) {
    return _mm256_i32gather_pd(base, _mm_loadu_si128(reinterpret_cast<const __m128i*>(index)), 8);
  }
  static FIMO_FORCE_INLINE void transpose(Reg (&r)[4]) {
    const Reg a = _mm256_unpacklo_pd(r[0], r[1]), b = _mm256_unpackhi_pd(r[0], r[1]);
    const Reg c = _mm256_unpacklo_pd(r[2], r[3]), d = _mm256_unpackhi_pd(r[2], r[3]);
    r[0] = _mm256_permute2f128_pd(a, c, 0x20);
    r[1] = _mm256_permute2f128_pd(b, d, 0x20);
    r[2] = _mm256_permute2f128_pd(a, c, 0x31);
    r[3] = _mm256_permute2f128_pd(b, d, 0x31);
  }
  static FIMO_FORCE_INLINE std::uint32_t not_le(Reg a, Reg b) {
    return static_cast<std::uint32_t>(_mm256_movemask_pd(_mm256_cmp_pd(a, b, _CMP_NLE_UQ)));
  }
};

/// Words of two int8 as 16 bits, which one vpmaddwd multiplies and adds exactly.
template <>
struct Simd<std::int32_t> {
  using Reg = __m256i;
  static constexpr int kLanes = 8;
  static constexpr int kGramRows = 4;  // with 5, one register too few for the products: everything spills
  static constexpr int kGramRegs = 2;

  static FIMO_FORCE_INLINE Reg zero() { return _mm256_setzero_si256(); }
  static FIMO_FORCE_INLINE Reg set(std::int32_t x) { return _mm256_set1_epi32(x); }
  static FIMO_FORCE_INLINE Reg load(const std::int32_t* p) {
    Reg r = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    __asm__("" : "+x"(r));  // one load for all rows of a tile, see simd_dot_x86.h
    return r;
  }
  static FIMO_FORCE_INLINE void store(std::int32_t* p, Reg r) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), r); }
  static FIMO_FORCE_INLINE Reg add(Reg a, Reg b) { return _mm256_add_epi32(a, b); }
  static FIMO_FORCE_INLINE Reg fma(Reg row, Reg column, Reg c) { return _mm256_add_epi32(c, _mm256_madd_epi16(row, column)); }
};

struct SimdU32 {
  using Reg = __m256i;
  static constexpr int kLanes = 8;
  static FIMO_FORCE_INLINE Reg set(std::uint32_t x) { return _mm256_set1_epi32(static_cast<int>(x)); }
  static FIMO_FORCE_INLINE Reg iota() { return _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7); }
  static FIMO_FORCE_INLINE Reg add(Reg a, Reg b) { return _mm256_add_epi32(a, b); }
  static FIMO_FORCE_INLINE Reg bit_xor(Reg a, Reg b) { return _mm256_xor_si256(a, b); }
  static FIMO_FORCE_INLINE Reg bit_and(Reg a, Reg b) { return _mm256_and_si256(a, b); }
  template <int N>
  static FIMO_FORCE_INLINE Reg shift_left(Reg a) {
    return _mm256_slli_epi32(a, N);
  }
  template <int N>
  static FIMO_FORCE_INLINE Reg shift_right(Reg a) {
    return _mm256_srli_epi32(a, N);
  }
  static FIMO_FORCE_INLINE Simd<float>::Reg to_float(Reg a) { return _mm256_cvtepi32_ps(a); }
  static FIMO_FORCE_INLINE Simd<float>::Reg as_float(Reg a) { return _mm256_castsi256_ps(a); }
  static FIMO_FORCE_INLINE Reg bits_of(Simd<float>::Reg a) { return _mm256_castps_si256(a); }
  static FIMO_FORCE_INLINE void multiply(Reg a, std::uint32_t m, Reg* high, Reg* low) {
    const Reg factor = _mm256_set1_epi32(static_cast<int>(m));
    const Reg even = _mm256_mul_epu32(a, factor);
    const Reg odd = _mm256_mul_epu32(_mm256_srli_epi64(a, 32), factor);
    *low = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA);
    *high = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA);
  }
  static FIMO_FORCE_INLINE void store_blocks(std::uint32_t* out, Reg w0, Reg w1, Reg w2, Reg w3) {
    const Reg low01 = _mm256_unpacklo_epi32(w0, w1), high01 = _mm256_unpackhi_epi32(w0, w1);
    const Reg low23 = _mm256_unpacklo_epi32(w2, w3), high23 = _mm256_unpackhi_epi32(w2, w3);
    const Reg b04 = _mm256_unpacklo_epi64(low01, low23), b15 = _mm256_unpackhi_epi64(low01, low23);
    const Reg b26 = _mm256_unpacklo_epi64(high01, high23), b37 = _mm256_unpackhi_epi64(high01, high23);
    Reg* p = reinterpret_cast<Reg*>(out);
    _mm256_storeu_si256(p, _mm256_permute2x128_si256(b04, b15, 0x20));
    _mm256_storeu_si256(p + 1, _mm256_permute2x128_si256(b26, b37, 0x20));
    _mm256_storeu_si256(p + 2, _mm256_permute2x128_si256(b04, b15, 0x31));
    _mm256_storeu_si256(p + 3, _mm256_permute2x128_si256(b26, b37, 0x31));
  }
};

}  // namespace
}  // namespace fimo::FIMO_ISA

#include "cpu/isa/simd_dot_x86.h"
