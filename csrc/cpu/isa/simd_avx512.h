// SPDX-License-Identifier: Apache-2.0
/// \file
/// The SIMD wrapper (see simd_scalar.h) on AVX-512 F, BW, DQ and VL: 32 registers of 512 bits. Where the compiler may use VNNI,
/// int8 does.
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
  using Reg = __m512;
  static constexpr int kLanes = 16;
  static constexpr int kGramRows = 12;  // 12 x 2 accumulators, 2 columns, 1 broadcast: 27 of 32 registers
  static constexpr int kGramRegs = 2;

  static FIMO_FORCE_INLINE Reg zero() { return _mm512_setzero_ps(); }
  static FIMO_FORCE_INLINE Reg set(float x) { return _mm512_set1_ps(x); }
  static FIMO_FORCE_INLINE Reg load(const float* p) { return _mm512_loadu_ps(p); }
  static FIMO_FORCE_INLINE Reg load(const BFloat16* p) {
    const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
  }
  static FIMO_FORCE_INLINE Reg load(const Float16* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static FIMO_FORCE_INLINE void store(float* p, Reg r) { _mm512_storeu_ps(p, r); }
  static FIMO_FORCE_INLINE Reg add(Reg a, Reg b) { return _mm512_add_ps(a, b); }
  static FIMO_FORCE_INLINE Reg sub(Reg a, Reg b) { return _mm512_sub_ps(a, b); }
  static FIMO_FORCE_INLINE Reg mul(Reg a, Reg b) { return _mm512_mul_ps(a, b); }
  static FIMO_FORCE_INLINE Reg fma(Reg a, Reg b, Reg c) { return _mm512_fmadd_ps(a, b, c); }
  static FIMO_FORCE_INLINE Reg fused(Reg a, Reg b, Reg c) { return fma(a, b, c); }
  static FIMO_FORCE_INLINE Reg sqrt(Reg a) { return _mm512_sqrt_ps(a); }
  static FIMO_FORCE_INLINE Reg sign_bits(std::uint32_t word) {
    return _mm512_castsi512_ps(_mm512_maskz_set1_epi32(static_cast<__mmask16>(word), static_cast<int>(0x80000000u)));
  }
  static FIMO_FORCE_INLINE Reg flip(Reg x, Reg signs) { return _mm512_xor_ps(x, signs); }
  static FIMO_FORCE_INLINE Reg choose(std::uint32_t word, int first, Reg clear, Reg set) {
    return _mm512_mask_blend_ps(static_cast<__mmask16>(word >> first), clear, set);
  }
  template <int H>
  static FIMO_FORCE_INLINE Reg butterfly(Reg x) {
    Reg swapped;
    std::uint32_t minus;
    if constexpr (H == 1) {
      swapped = _mm512_permute_ps(x, 0xB1);
      minus = 0xAAAAu;
    } else if constexpr (H == 2) {
      swapped = _mm512_permute_ps(x, 0x4E);
      minus = 0xCCCCu;
    } else if constexpr (H == 4) {
      swapped = _mm512_shuffle_f32x4(x, x, 0xB1);
      minus = 0xF0F0u;
    } else {
      static_assert(H == 8, "H must be below kLanes");
      swapped = _mm512_shuffle_f32x4(x, x, 0x4E);
      minus = 0xFF00u;
    }
    const Reg ones = _mm512_mask_blend_ps(static_cast<__mmask16>(minus), set(1), set(-1));
    return _mm512_fmadd_ps(x, ones, swapped);  // exact, and multipliers idle here
  }
  static FIMO_FORCE_INLINE Reg gather(const float* base, const std::int32_t* index) {
    return _mm512_i32gather_ps(_mm512_loadu_si512(index), base, 4);
  }
  static FIMO_FORCE_INLINE void transpose(Reg (&r)[16]) {
    Reg a[16], b[16];
    // Inside the 128-bit parts, four registers at a time; then the 4 x 4 square of those parts.
    FIMO_UNROLL
    for (int i = 0; i < 16; i += 4) {
      const __m512d low01 = _mm512_castps_pd(_mm512_unpacklo_ps(r[i], r[i + 1]));
      const __m512d high01 = _mm512_castps_pd(_mm512_unpackhi_ps(r[i], r[i + 1]));
      const __m512d low23 = _mm512_castps_pd(_mm512_unpacklo_ps(r[i + 2], r[i + 3]));
      const __m512d high23 = _mm512_castps_pd(_mm512_unpackhi_ps(r[i + 2], r[i + 3]));
      a[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(low01, low23));
      a[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low01, low23));
      a[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(high01, high23));
      a[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(high01, high23));
    }
    FIMO_UNROLL
    for (int i = 0; i < 4; ++i) {
      b[i] = _mm512_shuffle_f32x4(a[i], a[i + 4], 0x88);
      b[i + 4] = _mm512_shuffle_f32x4(a[i], a[i + 4], 0xDD);
      b[i + 8] = _mm512_shuffle_f32x4(a[i + 8], a[i + 12], 0x88);
      b[i + 12] = _mm512_shuffle_f32x4(a[i + 8], a[i + 12], 0xDD);
    }
    FIMO_UNROLL
    for (int i = 0; i < 4; ++i) {
      r[i] = _mm512_shuffle_f32x4(b[i], b[i + 8], 0x88);
      r[i + 4] = _mm512_shuffle_f32x4(b[i + 4], b[i + 12], 0x88);
      r[i + 8] = _mm512_shuffle_f32x4(b[i], b[i + 8], 0xDD);
      r[i + 12] = _mm512_shuffle_f32x4(b[i + 4], b[i + 12], 0xDD);
    }
  }
  static FIMO_FORCE_INLINE std::uint32_t not_le(Reg a, Reg b) { return _mm512_cmp_ps_mask(a, b, _CMP_NLE_UQ); }
};

template <>
struct Simd<double> {
  using Reg = __m512d;
  static constexpr int kLanes = 8;
  static constexpr int kGramRows = 12;
  static constexpr int kGramRegs = 2;

  static FIMO_FORCE_INLINE Reg zero() { return _mm512_setzero_pd(); }
  static FIMO_FORCE_INLINE Reg set(double x) { return _mm512_set1_pd(x); }
  static FIMO_FORCE_INLINE Reg load(const double* p) { return _mm512_loadu_pd(p); }
  static FIMO_FORCE_INLINE void store(double* p, Reg r) { _mm512_storeu_pd(p, r); }
  static FIMO_FORCE_INLINE Reg add(Reg a, Reg b) { return _mm512_add_pd(a, b); }
  static FIMO_FORCE_INLINE Reg sub(Reg a, Reg b) { return _mm512_sub_pd(a, b); }
  static FIMO_FORCE_INLINE Reg mul(Reg a, Reg b) { return _mm512_mul_pd(a, b); }
  static FIMO_FORCE_INLINE Reg fma(Reg a, Reg b, Reg c) { return _mm512_fmadd_pd(a, b, c); }
  static FIMO_FORCE_INLINE Reg fused(Reg a, Reg b, Reg c) { return fma(a, b, c); }
  static FIMO_FORCE_INLINE Reg sign_bits(std::uint32_t word) {
    return _mm512_castsi512_pd(
        _mm512_maskz_set1_epi64(static_cast<__mmask8>(word), static_cast<long long>(0x8000000000000000ull)));
  }
  static FIMO_FORCE_INLINE Reg flip(Reg x, Reg signs) { return _mm512_xor_pd(x, signs); }
  static FIMO_FORCE_INLINE Reg choose(std::uint32_t word, int first, Reg clear, Reg set) {
    return _mm512_mask_blend_pd(static_cast<__mmask8>(word >> first), clear, set);
  }
  template <int H>
  static FIMO_FORCE_INLINE Reg butterfly(Reg x) {
    Reg swapped;
    std::uint32_t minus;
    if constexpr (H == 1) {
      swapped = _mm512_permute_pd(x, 0x55);
      minus = 0xAAu;
    } else if constexpr (H == 2) {
      swapped = _mm512_permutex_pd(x, 0x4E);
      minus = 0xCCu;
    } else {
      static_assert(H == 4, "H must be below kLanes");
      swapped = _mm512_shuffle_f64x2(x, x, 0x4E);
      minus = 0xF0u;
    }
    const Reg ones = _mm512_mask_blend_pd(static_cast<__mmask8>(minus), set(1), set(-1));
    return _mm512_fmadd_pd(x, ones, swapped);
  }
  static FIMO_FORCE_INLINE Reg gather(const double* base, const std::int32_t* index) {
    return _mm512_i32gather_pd(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(index)), base, 8);
  }
  static FIMO_FORCE_INLINE void transpose(Reg (&r)[8]) {
    Reg a[8], b[8];
    FIMO_UNROLL
    for (int i = 0; i < 8; i += 2) {
      a[i] = _mm512_unpacklo_pd(r[i], r[i + 1]);
      a[i + 1] = _mm512_unpackhi_pd(r[i], r[i + 1]);
    }
    FIMO_UNROLL
    for (int i = 0; i < 8; i += 4) {
      FIMO_UNROLL
      for (int odd = 0; odd < 2; ++odd) {
        b[i + odd] = _mm512_shuffle_f64x2(a[i + odd], a[i + 2 + odd], 0x88);
        b[i + 2 + odd] = _mm512_shuffle_f64x2(a[i + odd], a[i + 2 + odd], 0xDD);
      }
    }
    FIMO_UNROLL
    for (int i = 0; i < 4; ++i) {
      r[i] = _mm512_shuffle_f64x2(b[i], b[i + 4], 0x88);
      r[i + 4] = _mm512_shuffle_f64x2(b[i], b[i + 4], 0xDD);
    }
  }
  static FIMO_FORCE_INLINE std::uint32_t not_le(Reg a, Reg b) { return _mm512_cmp_pd_mask(a, b, _CMP_NLE_UQ); }
};

/// Words of two int8 as 16 bits for vpmaddwd, or with VNNI of four int8 for vpdpbusd (see simd_dot_x86.h).
template <>
struct Simd<std::int32_t> {
  using Reg = __m512i;
  static constexpr int kLanes = 16;
  static constexpr int kGramRows = 12;
  static constexpr int kGramRegs = 2;

  static FIMO_FORCE_INLINE Reg zero() { return _mm512_setzero_si512(); }
  static FIMO_FORCE_INLINE Reg set(std::int32_t x) { return _mm512_set1_epi32(x); }
  static FIMO_FORCE_INLINE Reg load(const std::int32_t* p) {
    Reg r = _mm512_loadu_si512(p);
    __asm__("" : "+v"(r));  // one load for all rows of a tile, see simd_dot_x86.h
    return r;
  }
  static FIMO_FORCE_INLINE void store(std::int32_t* p, Reg r) { _mm512_storeu_si512(p, r); }
  static FIMO_FORCE_INLINE Reg add(Reg a, Reg b) { return _mm512_add_epi32(a, b); }
  static FIMO_FORCE_INLINE Reg fma(Reg row, Reg column, Reg c) {
#if defined(__AVX512VNNI__)
    return _mm512_dpbusd_epi32(c, row, column);
#else
    return _mm512_add_epi32(c, _mm512_madd_epi16(row, column));
#endif
  }
};

struct SimdU32 {
  using Reg = __m512i;
  static constexpr int kLanes = 16;
  static FIMO_FORCE_INLINE Reg set(std::uint32_t x) { return _mm512_set1_epi32(static_cast<int>(x)); }
  static FIMO_FORCE_INLINE Reg iota() { return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15); }
  static FIMO_FORCE_INLINE Reg add(Reg a, Reg b) { return _mm512_add_epi32(a, b); }
  static FIMO_FORCE_INLINE Reg bit_xor(Reg a, Reg b) { return _mm512_xor_si512(a, b); }
  static FIMO_FORCE_INLINE Reg bit_and(Reg a, Reg b) { return _mm512_and_si512(a, b); }
  template <int N>
  static FIMO_FORCE_INLINE Reg shift_left(Reg a) {
    return _mm512_slli_epi32(a, N);
  }
  template <int N>
  static FIMO_FORCE_INLINE Reg shift_right(Reg a) {
    return _mm512_srli_epi32(a, N);
  }
  static FIMO_FORCE_INLINE Simd<float>::Reg to_float(Reg a) { return _mm512_cvtepi32_ps(a); }
  static FIMO_FORCE_INLINE Simd<float>::Reg as_float(Reg a) { return _mm512_castsi512_ps(a); }
  static FIMO_FORCE_INLINE Reg bits_of(Simd<float>::Reg a) { return _mm512_castps_si512(a); }
  static FIMO_FORCE_INLINE void multiply(Reg a, std::uint32_t m, Reg* high, Reg* low) {
    const Reg factor = _mm512_set1_epi32(static_cast<int>(m));
    const Reg even = _mm512_mul_epu32(a, factor);
    const Reg odd = _mm512_mul_epu32(_mm512_srli_epi64(a, 32), factor);
    *low = _mm512_mask_blend_epi32(0xAAAA, even, _mm512_slli_epi64(odd, 32));
    *high = _mm512_mask_blend_epi32(0xAAAA, _mm512_srli_epi64(even, 32), odd);
  }
  static FIMO_FORCE_INLINE void store_blocks(std::uint32_t* out, Reg w0, Reg w1, Reg w2, Reg w3) {
    const Reg low01 = _mm512_unpacklo_epi32(w0, w1), high01 = _mm512_unpackhi_epi32(w0, w1);
    const Reg low23 = _mm512_unpacklo_epi32(w2, w3), high23 = _mm512_unpackhi_epi32(w2, w3);
    const Reg blocks[4] = {_mm512_unpacklo_epi64(low01, low23), _mm512_unpackhi_epi64(low01, low23),
                           _mm512_unpacklo_epi64(high01, high23), _mm512_unpackhi_epi64(high01, high23)};
    __m128i* p = reinterpret_cast<__m128i*>(out);
    // 128-bit part q of blocks[b] is block 4 q + b.
    FIMO_UNROLL
    for (int b = 0; b < 4; ++b) {
      _mm_storeu_si128(p + b, _mm512_castsi512_si128(blocks[b]));
      _mm_storeu_si128(p + 4 + b, _mm512_extracti32x4_epi32(blocks[b], 1));
      _mm_storeu_si128(p + 8 + b, _mm512_extracti32x4_epi32(blocks[b], 2));
      _mm_storeu_si128(p + 12 + b, _mm512_extracti32x4_epi32(blocks[b], 3));
    }
  }
};

}  // namespace
}  // namespace fimo::FIMO_ISA

#include "cpu/isa/simd_dot_x86.h"
