// SPDX-License-Identifier: Apache-2.0
/// \file
/// DotSimd (see simd_scalar.h) in registers of 256 bits, for AVX2 and AVX-512: eight floats are the partial sums that every
/// instruction set has, and a kernel that waits for memory gains nothing from wider ones.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "cpu/isa/element.h"

namespace fimo::FIMO_ISA {
namespace {

#if defined(__AVX512VL__)  // 32 registers
constexpr int kFloatDotRows = 3, kFloatDotVectors = 8;
constexpr int kInt8DotRows = 2, kInt8DotVectors = 8;
#else  // 16: 3 x 4 sums, 3 rows, 1 vector; or 2 x 4 sums, 2 rows, 1 vector, products
constexpr int kFloatDotRows = 3, kFloatDotVectors = 4;
constexpr int kInt8DotRows = 2, kInt8DotVectors = 4;
#endif

template <class Element>
struct DotSimd {  // float, BFloat16, Float16
  using Side = __m256;
  using Sum = __m256;
  using Word = float;
  static constexpr int kGroup = 1;
  static constexpr int kStep = 8;
  static constexpr int kRows = kFloatDotRows;
  static constexpr int kVectors = kFloatDotVectors;

  static FIMO_FORCE_INLINE Sum zero() { return _mm256_setzero_ps(); }
  static FIMO_FORCE_INLINE Side load_row(const float* p) { return _mm256_loadu_ps(p); }
  static FIMO_FORCE_INLINE Side load_row(const BFloat16* p) {
    const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
  }
  static FIMO_FORCE_INLINE Side load_row(const Float16* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static FIMO_FORCE_INLINE Side load_column(const Element* p) { return load_row(p); }
  static FIMO_FORCE_INLINE Side load(const float* p) { return _mm256_loadu_ps(p); }
  static FIMO_FORCE_INLINE void store(float* p, Side r) { _mm256_storeu_ps(p, r); }
  static FIMO_FORCE_INLINE Sum dot(Side row, Side column, Sum sum) { return _mm256_fmadd_ps(row, column, sum); }
  static FIMO_FORCE_INLINE float sum(Sum r) {
    const __m256 half = _mm256_add_ps(r, _mm256_permute_ps(r, 0x4E));           // 0+2, 1+3
    const __m256 quarter = _mm256_add_ps(half, _mm256_permute_ps(half, 0xB1));  // (0+2)+(1+3)
    return _mm_cvtss_f32(_mm_add_ss(_mm256_castps256_ps128(quarter), _mm256_extractf128_ps(quarter, 1)));
  }
  static FIMO_FORCE_INLINE void sum4(Sum a, Sum b, Sum c, Sum d, float* out) {
    const __m256 ab = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));  // a0+a2 b0+b2 a1+a3 b1+b3
    const __m256 cd = _mm256_add_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
    const __m256 all = _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xEE));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1)));
  }
};

template <>
struct DotSimd<double> {
  using Side = __m256d;
  using Sum = __m256d;
  using Word = double;
  static constexpr int kGroup = 1;
  static constexpr int kStep = 4;
  static constexpr int kRows = kFloatDotRows;
  static constexpr int kVectors = kFloatDotVectors;

  static FIMO_FORCE_INLINE Sum zero() { return _mm256_setzero_pd(); }
  static FIMO_FORCE_INLINE Side load_row(const double* p) { return _mm256_loadu_pd(p); }
  static FIMO_FORCE_INLINE Side load_column(const double* p) { return _mm256_loadu_pd(p); }
  static FIMO_FORCE_INLINE Side load(const double* p) { return _mm256_loadu_pd(p); }
  static FIMO_FORCE_INLINE void store(double* p, Side r) { _mm256_storeu_pd(p, r); }
  static FIMO_FORCE_INLINE Sum dot(Side row, Side column, Sum sum) { return _mm256_fmadd_pd(row, column, sum); }
  static FIMO_FORCE_INLINE double sum(Sum r) {
    const __m128d half = _mm_add_pd(_mm256_castpd256_pd128(r), _mm256_extractf128_pd(r, 1));  // 0+2, 1+3
    return _mm_cvtsd_f64(_mm_add_sd(half, _mm_unpackhi_pd(half, half)));
  }
  static FIMO_FORCE_INLINE void sum4(Sum a, Sum b, Sum c, Sum d, double* out) {
    out[0] = sum(a);
    out[1] = sum(b);
    out[2] = sum(c);
    out[3] = sum(d);
  }
};

#if defined(__AVX512VNNI__)
constexpr std::int32_t kInt8RowBias = 128;
#else
constexpr std::int32_t kInt8RowBias = 0;
#endif

/// Integer sums are the same in every order. Words hold two elements of 16 bits, or with VNNI four of 8 bits.
template <>
struct DotSimd<std::int8_t> {
  using Side = __m256i;
  using Sum = __m256i;
  using Word = std::int32_t;
  static constexpr int kRows = kInt8DotRows;
  static constexpr int kVectors = kInt8DotVectors;

  static FIMO_FORCE_INLINE Sum zero() { return _mm256_setzero_si256(); }
#if defined(__AVX512VNNI__)
  static constexpr int kGroup = 4;
  static constexpr int kStep = 32;
  // vpdpbusd takes one side without sign: rows are stored as x + 128, and the driver subtracts 128 times the column's sum.
  static FIMO_FORCE_INLINE Side load_row(const std::int8_t* p) {
    return _mm256_xor_si256(load_column(p), _mm256_set1_epi8(static_cast<char>(kInt8RowBias)));
  }
  static FIMO_FORCE_INLINE Side load_column(const std::int8_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static FIMO_FORCE_INLINE Sum dot(Side row, Side column, Sum sum) { return _mm256_dpbusd_epi32(sum, row, column); }
#else
  static constexpr int kGroup = 2;
  static constexpr int kStep = 16;
  static FIMO_FORCE_INLINE Side load_row(const std::int8_t* p) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static FIMO_FORCE_INLINE Side load_column(const std::int8_t* p) { return load_row(p); }
  static FIMO_FORCE_INLINE Sum dot(Side row, Side column, Sum sum) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(row, column));
  }
#endif
  static FIMO_FORCE_INLINE Side load(const std::int32_t* p) {
    Side r = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    __asm__("" : "+x"(r));  // one load for all rows: GCC folds it into each product, and loads are the bottleneck then
    return r;
  }
  static FIMO_FORCE_INLINE void store(std::int32_t* p, Side r) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), r); }
  static FIMO_FORCE_INLINE std::int32_t sum(Sum r) {
    __m128i half = _mm_add_epi32(_mm256_castsi256_si128(r), _mm256_extracti128_si256(r, 1));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4E));
    return _mm_cvtsi128_si32(_mm_add_epi32(half, _mm_shuffle_epi32(half, 0xB1)));
  }
  static FIMO_FORCE_INLINE void sum4(Sum a, Sum b, Sum c, Sum d, std::int32_t* out) {
    const __m256i all = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out),
                     _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1)));
  }
};

}  // namespace
}  // namespace fimo::FIMO_ISA
