// SPDX-License-Identifier: Apache-2.0
/// \file
/// The entries of sketches, as device functions, and elements as floats. Definitions: docs/numerics.md.
///
/// Costs in instructions: a Philox block about 60 (128 Rademacher entries, 8 normal numbers, or 4 nonzeros of an SJLT), a pair
/// of normal numbers about 60: 37 an entry with its share of Philox.
#pragma once

#include "cuda/device/instructions.cuh"
#include "fimo_fast/random.h"

namespace fimo::cuda {

FIMO_DEVICE float to_float(float x) { return x; }
FIMO_DEVICE float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
FIMO_DEVICE float to_float(__half x) { return __half2float(x); }

/// x with its sign changed where the top bit of `sign` is set.
FIMO_DEVICE float flip(float x, std::uint32_t sign) { return __uint_as_float(__float_as_uint(x) ^ (sign & 0x80000000u)); }

/// Rounded operations that are never fused.
FIMO_DEVICE float rounded_product(float a, float b) { return __fmul_rn(a, b); }
FIMO_DEVICE float rounded_sum(float a, float b) { return __fadd_rn(a, b); }

/// The correctly rounded square root of a float in [2^-100, 2^100].
FIMO_DEVICE float rounded_root(float x) {
  const float y = reciprocal_root(x), root = rounded_product(x, y);
  return fmaf(fmaf(-root, root, x), rounded_product(y, 0.5f), root);
}

/// As fimo::philox, in fewer instructions.
FIMO_DEVICE PhiloxBlock philox(std::uint64_t index, std::uint32_t part, std::uint32_t stream, std::uint64_t seed) {
  return fimo::philox<WideProduct>(index, part, stream, seed);
}

/// The 128 signs of coordinate j for the outputs 128 tile ... 128 tile + 127: a set bit is -1.
FIMO_DEVICE PhiloxBlock rademacher_signs(std::uint64_t j, std::uint32_t tile, std::uint64_t seed) {
  return philox(j, tile, kStreamRademacher, seed);
}

/// Horner's rule, lowest power first, every product and sum rounded.
template <int N>
FIMO_DEVICE float rounded_polynomial(const float (&coefficients)[N], float x) {
  float result = coefficients[N - 1];
#pragma unroll
  for (int i = N - 2; i >= 0; --i) result = rounded_sum(rounded_product(result, x), coefficients[i]);
  return result;
}

struct NormalPair {
  float first, second;
};

/// The two normal numbers of a word of philox(j, 16 tile + p, kStreamGaussian, seed): word w gives the entries of the outputs
/// 128 tile + 32 w + p and 16 further. As csrc/cpu/kernels/gaussian_kernel.h; integers below 2^23 become floats by way of the
/// last bits of a large float, which is exact and faster than a conversion.
FIMO_DEVICE NormalPair normal_pair(std::uint32_t word) {
  constexpr float kMinus2Log[] = {-2.000002f, 1.0000223f, -0.66629016f, 0.49819487f, -0.40992656f, 0.3733571f, -0.23792227f};
  constexpr float kSine[] = {1.570791f, -0.64589286f, 0.07943434f, -0.004333095f};
  constexpr float kCosine[] = {-1.2336988f, 0.2536532f, -0.020813966f, 0.0008596901f};
  constexpr float kMinus2Ln2 = -1.3862944f;
  constexpr std::uint32_t kSqrtHalfBits = 0x3F3504F3u, kOneBits = 0x3F800000u;
  // Last places of floats: 2^24's is 2, 2^23's 1, 2^7's 2^-16.
  constexpr std::uint32_t kTwos = 0x4B800000u, kOnes = 0x4B000000u, kSmall = 0x43000002u;

  const float odd = rounded_sum(__uint_as_float((word >> 16) + kTwos), -16777215.0f);
  const std::uint32_t bits = __float_as_uint(odd) + (kOneBits - kSqrtHalfBits);
  const float exponent = rounded_sum(__uint_as_float((bits >> 23) + kOnes), -(8388608.0f + 127.0f + 17.0f));
  const float f = rounded_sum(__uint_as_float((bits & 0x007FFFFFu) + kSqrtHalfBits), -1.0f);
  const float square =
      rounded_sum(rounded_product(exponent, kMinus2Ln2), rounded_product(rounded_polynomial(kMinus2Log, f), f));
  const float radius = rounded_root(square);
  const float x = rounded_sum(__uint_as_float(masked_or(word, 0xFFFCu, kSmall)), -128.0f);
  const float z = rounded_product(x, x);
  const float cosine = rounded_sum(rounded_product(rounded_polynomial(kCosine, z), z), 1.0f);
  const float sine = rounded_product(rounded_polynomial(kSine, z), x);
  // Adding to the sign changes it, what overflows is lost.
  return {__uint_as_float(__float_as_uint(rounded_product(radius, cosine)) + (word << 31)),
          flip(rounded_product(radius, sine), word << 30)};
}

/// The output blocks of an SJLT: block r is [begin(r), begin(r + 1)).
struct SjltBlocks {
  std::uint32_t nonzeros, quotient, rest;  // of sketch_dim by nonzeros

  FIMO_HOST_DEVICE std::uint32_t begin(std::uint32_t r) const {
    return r * quotient + (rest ? r * rest / nonzeros : 0);  // r, rest < 2^16
  }
  /// The bucket of nonzero r, from its word.
  FIMO_HOST_DEVICE std::uint32_t bucket(std::uint32_t r, std::uint32_t word) const {
    const std::uint32_t first = begin(r), length = begin(r + 1) - first;
    return first + static_cast<std::uint32_t>(static_cast<std::uint64_t>(word & ~1u) * length >> 32);
  }
};

}  // namespace fimo::cuda
