// SPDX-License-Identifier: Apache-2.0
/// \file
/// The SIMD wrapper (see simd_scalar.h) on NEON (AArch64): 32 registers of 128 bits.
#pragma once

#include <arm_neon.h>

#include <cstdint>

#include "cpu/isa/element.h"

namespace fimo::FIMO_ISA {
namespace {

constexpr bool kHasFma = true;

template <class T>
struct Simd;

template <>
struct Simd<float> {
  using Reg = float32x4_t;
  static constexpr int kLanes = 4;
  static constexpr int kGramRows = 8;  // 8 x 2 accumulators, 2 columns, 1 broadcast
  static constexpr int kGramRegs = 2;

  static FIMO_FORCE_INLINE Reg zero() { return vdupq_n_f32(0.f); }
  static FIMO_FORCE_INLINE Reg set(float x) { return vdupq_n_f32(x); }
  static FIMO_FORCE_INLINE Reg load(const float* p) { return vld1q_f32(p); }
  static FIMO_FORCE_INLINE Reg load(const BFloat16* p) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(&p->bits), 16)); }
  static FIMO_FORCE_INLINE Reg load(const Float16* p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(&p->bits))); }
  static FIMO_FORCE_INLINE void store(float* p, Reg r) { vst1q_f32(p, r); }
  static FIMO_FORCE_INLINE Reg add(Reg a, Reg b) { return vaddq_f32(a, b); }
  static FIMO_FORCE_INLINE Reg sub(Reg a, Reg b) { return vsubq_f32(a, b); }
  static FIMO_FORCE_INLINE Reg mul(Reg a, Reg b) { return vmulq_f32(a, b); }
  static FIMO_FORCE_INLINE Reg fma(Reg a, Reg b, Reg c) { return vfmaq_f32(c, a, b); }
  static FIMO_FORCE_INLINE Reg fused(Reg a, Reg b, Reg c) { return fma(a, b, c); }
  static FIMO_FORCE_INLINE Reg sqrt(Reg a) { return vsqrtq_f32(a); }
  static FIMO_FORCE_INLINE Reg sign_bits(std::uint32_t word) {
    const int32_t shifts[4] = {31, 30, 29, 28};
    const uint32x4_t bits = vshlq_u32(vdupq_n_u32(word), vld1q_s32(shifts));
    return vreinterpretq_f32_u32(vandq_u32(bits, vdupq_n_u32(0x80000000u)));
  }
  static FIMO_FORCE_INLINE Reg flip(Reg x, Reg signs) {
    return vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(x), vreinterpretq_u32_f32(signs)));
  }
  static FIMO_FORCE_INLINE Reg choose(std::uint32_t word, int first, Reg clear, Reg set) {
    const uint32_t weights[4] = {1, 2, 4, 8};
    return vbslq_f32(vtstq_u32(vdupq_n_u32(word >> first), vld1q_u32(weights)), set, clear);
  }
  template <int H>
  static FIMO_FORCE_INLINE Reg butterfly(Reg x) {
    if constexpr (H == 1) {
      return vaddq_f32(vrev64q_f32(x), flip(x, sign_bits(0xAu)));
    } else {
      static_assert(H == 2, "H must be below kLanes");
      return vaddq_f32(vextq_f32(x, x, 2), flip(x, sign_bits(0xCu)));
    }
  }
  static FIMO_FORCE_INLINE Reg gather(const float* base, const std::int32_t* index) {
    const float values[4] = {base[index[0]], base[index[1]], base[index[2]], base[index[3]]};
    return vld1q_f32(values);
  }
  static FIMO_FORCE_INLINE void transpose(Reg (&r)[4]) {
    const float64x2_t a = vreinterpretq_f64_f32(vtrn1q_f32(r[0], r[1])), b = vreinterpretq_f64_f32(vtrn2q_f32(r[0], r[1]));
    const float64x2_t c = vreinterpretq_f64_f32(vtrn1q_f32(r[2], r[3])), d = vreinterpretq_f64_f32(vtrn2q_f32(r[2], r[3]));
    r[0] = vreinterpretq_f32_f64(vtrn1q_f64(a, c));
    r[1] = vreinterpretq_f32_f64(vtrn1q_f64(b, d));
    r[2] = vreinterpretq_f32_f64(vtrn2q_f64(a, c));
    r[3] = vreinterpretq_f32_f64(vtrn2q_f64(b, d));
  }
  static FIMO_FORCE_INLINE std::uint32_t not_le(Reg a, Reg b) {
    const uint32_t weights[4] = {1, 2, 4, 8};
    return vaddvq_u32(vandq_u32(vmvnq_u32(vcleq_f32(a, b)), vld1q_u32(weights)));
  }
};

template <>
struct Simd<double> {
  using Reg = float64x2_t;
  static constexpr int kLanes = 2;
  static constexpr int kGramRows = 8;
  static constexpr int kGramRegs = 2;

  static FIMO_FORCE_INLINE Reg zero() { return vdupq_n_f64(0.); }
  static FIMO_FORCE_INLINE Reg set(double x) { return vdupq_n_f64(x); }
  static FIMO_FORCE_INLINE Reg load(const double* p) { return vld1q_f64(p); }
  static FIMO_FORCE_INLINE void store(double* p, Reg r) { vst1q_f64(p, r); }
  static FIMO_FORCE_INLINE Reg add(Reg a, Reg b) { return vaddq_f64(a, b); }
  static FIMO_FORCE_INLINE Reg sub(Reg a, Reg b) { return vsubq_f64(a, b); }
  static FIMO_FORCE_INLINE Reg mul(Reg a, Reg b) { return vmulq_f64(a, b); }
  static FIMO_FORCE_INLINE Reg fma(Reg a, Reg b, Reg c) { return vfmaq_f64(c, a, b); }
  static FIMO_FORCE_INLINE Reg fused(Reg a, Reg b, Reg c) { return fma(a, b, c); }
  static FIMO_FORCE_INLINE Reg sign_bits(std::uint32_t word) {
    const int64_t shifts[2] = {63, 62};
    const uint64x2_t bits = vshlq_u64(vdupq_n_u64(word), vld1q_s64(shifts));
    return vreinterpretq_f64_u64(vandq_u64(bits, vdupq_n_u64(0x8000000000000000ull)));
  }
  static FIMO_FORCE_INLINE Reg flip(Reg x, Reg signs) {
    return vreinterpretq_f64_u64(veorq_u64(vreinterpretq_u64_f64(x), vreinterpretq_u64_f64(signs)));
  }
  static FIMO_FORCE_INLINE Reg choose(std::uint32_t word, int first, Reg clear, Reg set) {
    const uint64_t weights[2] = {1, 2};
    return vbslq_f64(vtstq_u64(vdupq_n_u64(word >> first), vld1q_u64(weights)), set, clear);
  }
  template <int H>
  static FIMO_FORCE_INLINE Reg butterfly(Reg x) {
    static_assert(H == 1, "H must be below kLanes");
    return vaddq_f64(vextq_f64(x, x, 1), flip(x, sign_bits(0x2u)));
  }
  static FIMO_FORCE_INLINE Reg gather(const double* base, const std::int32_t* index) {
    const double values[2] = {base[index[0]], base[index[1]]};
    return vld1q_f64(values);
  }
  static FIMO_FORCE_INLINE void transpose(Reg (&r)[2]) {
    const float64x2_t a = vtrn1q_f64(r[0], r[1]);
    r[1] = vtrn2q_f64(r[0], r[1]);
    r[0] = a;
  }
  static FIMO_FORCE_INLINE std::uint32_t not_le(Reg a, Reg b) {
    const uint64x2_t le = vcleq_f64(a, b);
    return (vgetq_lane_u64(le, 0) ? 0u : 1u) | (vgetq_lane_u64(le, 1) ? 0u : 2u);
  }
};

/// Words of two int8 as 16 bits: their products fit 16 bits, and pairs of products are added in 32.
template <>
struct Simd<std::int32_t> {
  using Reg = int32x4_t;
  static constexpr int kLanes = 4;
  static constexpr int kGramRows = 8;
  static constexpr int kGramRegs = 2;

  static FIMO_FORCE_INLINE Reg zero() { return vdupq_n_s32(0); }
  static FIMO_FORCE_INLINE Reg set(std::int32_t x) { return vdupq_n_s32(x); }
  static FIMO_FORCE_INLINE Reg load(const std::int32_t* p) { return vld1q_s32(p); }
  static FIMO_FORCE_INLINE void store(std::int32_t* p, Reg r) { vst1q_s32(p, r); }
  static FIMO_FORCE_INLINE Reg add(Reg a, Reg b) { return vaddq_s32(a, b); }
  static FIMO_FORCE_INLINE Reg fma(Reg row, Reg column, Reg c) {
    return vpadalq_s16(c, vmulq_s16(vreinterpretq_s16_s32(row), vreinterpretq_s16_s32(column)));
  }
};

template <class Element>
struct DotSimd {  // float, BFloat16, Float16: eight partial sums in two registers
  struct Sum {
    float32x4_t low, high;
  };
  using Side = Sum;
  using Word = float;
  static constexpr int kGroup = 1;
  static constexpr int kStep = 8;
  static constexpr int kRows = 2;  // 2 x 4 sums, 2 rows, 1 vector, each of two registers
  static constexpr int kVectors = 4;

  static FIMO_FORCE_INLINE Sum zero() { return {vdupq_n_f32(0.f), vdupq_n_f32(0.f)}; }
  static FIMO_FORCE_INLINE Side load_row(const Element* p) { return {Simd<float>::load(p), Simd<float>::load(p + 4)}; }
  static FIMO_FORCE_INLINE Side load_column(const Element* p) { return load_row(p); }
  static FIMO_FORCE_INLINE Side load(const float* p) { return {vld1q_f32(p), vld1q_f32(p + 4)}; }
  static FIMO_FORCE_INLINE void store(float* p, Side r) {
    vst1q_f32(p, r.low);
    vst1q_f32(p + 4, r.high);
  }
  static FIMO_FORCE_INLINE Sum dot(Side row, Side column, Sum sum) {
    return {vfmaq_f32(sum.low, row.low, column.low), vfmaq_f32(sum.high, row.high, column.high)};
  }
  static FIMO_FORCE_INLINE float half_sum(float32x4_t x) {  // (0+2)+(1+3)
    const float32x2_t pair = vadd_f32(vget_low_f32(x), vget_high_f32(x));
    return vget_lane_f32(pair, 0) + vget_lane_f32(pair, 1);
  }
  static FIMO_FORCE_INLINE float sum(Sum r) { return half_sum(r.low) + half_sum(r.high); }
  static FIMO_FORCE_INLINE void sum4(Sum a, Sum b, Sum c, Sum d, float* out) {
    out[0] = sum(a);
    out[1] = sum(b);
    out[2] = sum(c);
    out[3] = sum(d);
  }
};

template <>
struct DotSimd<double> {  // four partial sums in two registers
  struct Sum {
    float64x2_t low, high;
  };
  using Side = Sum;
  using Word = double;
  static constexpr int kGroup = 1;
  static constexpr int kStep = 4;
  static constexpr int kRows = 2;
  static constexpr int kVectors = 4;

  static FIMO_FORCE_INLINE Sum zero() { return {vdupq_n_f64(0.), vdupq_n_f64(0.)}; }
  static FIMO_FORCE_INLINE Side load(const double* p) { return {vld1q_f64(p), vld1q_f64(p + 2)}; }
  static FIMO_FORCE_INLINE Side load_row(const double* p) { return load(p); }
  static FIMO_FORCE_INLINE Side load_column(const double* p) { return load(p); }
  static FIMO_FORCE_INLINE void store(double* p, Side r) {
    vst1q_f64(p, r.low);
    vst1q_f64(p + 2, r.high);
  }
  static FIMO_FORCE_INLINE Sum dot(Side row, Side column, Sum sum) {
    return {vfmaq_f64(sum.low, row.low, column.low), vfmaq_f64(sum.high, row.high, column.high)};
  }
  static FIMO_FORCE_INLINE double sum(Sum r) {
    const float64x2_t half = vaddq_f64(r.low, r.high);  // 0+2, 1+3
    return vgetq_lane_f64(half, 0) + vgetq_lane_f64(half, 1);
  }
  static FIMO_FORCE_INLINE void sum4(Sum a, Sum b, Sum c, Sum d, double* out) {
    out[0] = sum(a);
    out[1] = sum(b);
    out[2] = sum(c);
    out[3] = sum(d);
  }
};

template <>
struct DotSimd<std::int8_t> {
  using Side = int32x4_t;
  using Sum = int32x4_t;
  using Word = std::int32_t;
  static constexpr int kGroup = 2;
  static constexpr int kStep = 8;
  static constexpr int kRows = 4;
  static constexpr int kVectors = 4;

  static FIMO_FORCE_INLINE Sum zero() { return vdupq_n_s32(0); }
  static FIMO_FORCE_INLINE Side load_row(const std::int8_t* p) { return vreinterpretq_s32_s16(vmovl_s8(vld1_s8(p))); }
  static FIMO_FORCE_INLINE Side load_column(const std::int8_t* p) { return load_row(p); }
  static FIMO_FORCE_INLINE Side load(const std::int32_t* p) { return vld1q_s32(p); }
  static FIMO_FORCE_INLINE void store(std::int32_t* p, Side r) { vst1q_s32(p, r); }
  static FIMO_FORCE_INLINE Sum dot(Side row, Side column, Sum sum) { return Simd<std::int32_t>::fma(row, column, sum); }
  static FIMO_FORCE_INLINE std::int32_t sum(Sum r) { return vaddvq_s32(r); }
  static FIMO_FORCE_INLINE void sum4(Sum a, Sum b, Sum c, Sum d, std::int32_t* out) {
    vst1q_s32(out, vpaddq_s32(vpaddq_s32(a, b), vpaddq_s32(c, d)));
  }
};

constexpr std::int32_t kInt8RowBias = 0;

struct SimdU32 {
  using Reg = uint32x4_t;
  static constexpr int kLanes = 4;
  static FIMO_FORCE_INLINE Reg set(std::uint32_t x) { return vdupq_n_u32(x); }
  static FIMO_FORCE_INLINE Reg iota() {
    const uint32_t lanes[4] = {0, 1, 2, 3};
    return vld1q_u32(lanes);
  }
  static FIMO_FORCE_INLINE Reg add(Reg a, Reg b) { return vaddq_u32(a, b); }
  static FIMO_FORCE_INLINE Reg bit_xor(Reg a, Reg b) { return veorq_u32(a, b); }
  static FIMO_FORCE_INLINE Reg bit_and(Reg a, Reg b) { return vandq_u32(a, b); }
  template <int N>
  static FIMO_FORCE_INLINE Reg shift_left(Reg a) {
    return vshlq_n_u32(a, N);
  }
  template <int N>
  static FIMO_FORCE_INLINE Reg shift_right(Reg a) {
    return vshrq_n_u32(a, N);
  }
  static FIMO_FORCE_INLINE Simd<float>::Reg to_float(Reg a) { return vcvtq_f32_s32(vreinterpretq_s32_u32(a)); }
  static FIMO_FORCE_INLINE Simd<float>::Reg as_float(Reg a) { return vreinterpretq_f32_u32(a); }
  static FIMO_FORCE_INLINE Reg bits_of(Simd<float>::Reg a) { return vreinterpretq_u32_f32(a); }
  static FIMO_FORCE_INLINE void multiply(Reg a, std::uint32_t m, Reg* high, Reg* low) {
    const uint32x4_t front = vreinterpretq_u32_u64(vmull_n_u32(vget_low_u32(a), m));
    const uint32x4_t back = vreinterpretq_u32_u64(vmull_n_u32(vget_high_u32(a), m));
    *low = vuzp1q_u32(front, back);
    *high = vuzp2q_u32(front, back);
  }
  static FIMO_FORCE_INLINE void store_blocks(std::uint32_t* out, Reg w0, Reg w1, Reg w2, Reg w3) {
    vst4q_u32(out, (uint32x4x4_t{{w0, w1, w2, w3}}));
  }
};

}  // namespace
}  // namespace fimo::FIMO_ISA
