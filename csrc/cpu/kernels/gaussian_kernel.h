// SPDX-License-Identifier: Apache-2.0
/// \file
/// Normal numbers of a Gaussian sketch, by the Box-Muller transform in float32.
///
/// A word gives two numbers: its high half the radius sqrt(-2 ln u), u = (2 h + 1) / 2^17, its low half the angle, of which two
/// bits are signs. Logarithm, sine and cosine are polynomials whose every product and sum is rounded (no fused operation), so
/// that the bits are the same on every instruction set, on other devices and in sketch_matrices.py. The coefficients' errors
/// (1.1e-6 relative, 6e-7 and 6e-8 absolute) are far below what a statistic of 2^32 words could see.
#pragma once

#include <cstdint>

#include "cpu/kernels/philox_kernel.h"

#if defined(FIMO_ISA)
namespace fimo::FIMO_ISA {
namespace {

/// Horner's rule, lowest power first.
template <int N>
FIMO_FORCE_INLINE Simd<float>::Reg polynomial(const float (&coefficients)[N], Simd<float>::Reg x) {
  using S = Simd<float>;
  S::Reg result = S::set(coefficients[N - 1]);
  FIMO_UNROLL
  for (int i = N - 2; i >= 0; --i) result = S::add(S::mul(result, x), S::set(coefficients[i]));
  return result;
}

/// Two normal numbers from each word.
FIMO_FORCE_INLINE void normal_pairs(SimdU32::Reg word, Simd<float>::Reg* first, Simd<float>::Reg* second) {
  using S = Simd<float>;
  using U = SimdU32;
  constexpr float kMinus2Log[] = {-2.000002f, 1.0000223f, -0.66629016f, 0.49819487f, -0.40992656f, 0.3733571f, -0.23792227f};
  constexpr float kSine[] = {1.570791f, -0.64589286f, 0.07943434f, -0.004333095f};
  constexpr float kCosine[] = {-1.2336988f, 0.2536532f, -0.020813966f, 0.0008596901f};
  constexpr float kMinus2Ln2 = -1.3862944f;
  constexpr std::uint32_t kSqrtHalfBits = 0x3F3504F3u, kOneBits = 0x3F800000u;

  // y = 2 h + 1 = 2^e (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)); both parts are nonnegative floats' bits, so shifts are exact.
  const U::Reg odd = U::add(U::shift_left<1>(U::shift_right<16>(word)), U::set(1));
  const U::Reg bits = U::add(U::bits_of(U::to_float(odd)), U::set(kOneBits - kSqrtHalfBits));
  const S::Reg exponent = U::to_float(U::add(U::shift_right<23>(bits), U::set(0u - (127u + 17u))));
  const S::Reg f = S::sub(U::as_float(U::add(U::bit_and(bits, U::set(0x007FFFFFu)), U::set(kSqrtHalfBits))), S::set(1.0f));
  const S::Reg radius = S::sqrt(S::add(S::mul(exponent, S::set(kMinus2Ln2)), S::mul(polynomial(kMinus2Log, f), f)));

  const U::Reg quarter = U::shift_right<2>(U::bit_and(word, U::set(0xFFFFu)));
  const S::Reg x = S::mul(U::to_float(U::add(U::shift_left<1>(quarter), U::set(1))), S::set(0x1p-15f));
  const S::Reg z = S::mul(x, x);
  const S::Reg cosine = S::add(S::mul(polynomial(kCosine, z), z), S::set(1.0f));
  const S::Reg sine = S::mul(polynomial(kSine, z), x);
  const U::Reg top = U::set(0x80000000u);
  *first = S::flip(S::mul(radius, cosine), U::as_float(U::shift_left<31>(word)));
  *second = S::flip(S::mul(radius, sine), U::as_float(U::bit_and(U::shift_left<30>(word), top)));
}

/// Calls store(c, entries c ... c + lanes - 1) for the first `cols` columns (and some of their neighbours) of a tile of 128 in
/// the row of coordinate `index`. Column c belongs to Philox part 16 tile + c % 16 and to word c / 32 of its block.
template <class Store>
FIMO_FORCE_INLINE void gaussian_tile(std::uint64_t index, std::uint32_t tile, std::int64_t cols, std::uint64_t seed,
                                     const Store& store) {
  using U = SimdU32;
  FIMO_UNROLL
  for (int part = 0; part < 16; part += U::kLanes) {
    U::Reg words[1][4] = {{U::set(static_cast<std::uint32_t>(index)), U::set(static_cast<std::uint32_t>(index >> 32)),
                           U::add(U::set(16 * tile + static_cast<std::uint32_t>(part)), U::iota()), U::set(kStreamGaussian)}};
    philox_rounds(words, seed);
    FIMO_UNROLL
    for (int w = 0; w < 4; ++w) {
      if (32 * w >= cols) break;
      Simd<float>::Reg first, second;
      normal_pairs(words[0][w], &first, &second);
      store(32 * w + part, first);
      store(32 * w + 16 + part, second);
    }
  }
}

}  // namespace
}  // namespace fimo::FIMO_ISA
#endif
