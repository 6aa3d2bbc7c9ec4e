// SPDX-License-Identifier: Apache-2.0
/// \file
/// The SIMD wrapper (see simd_scalar.h) on NEON (AArch64): 32 registers of 128 bits.
#pragma once

#include <arm_neon.h>

#include <cstdint>

#include "element.h"

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
