// SPDX-License-Identifier: Apache-2.0
/// \file
/// Philox4x32-10, the counter-based generator behind every sketch.
///
/// A counter-based generator is a function, not a state: word = philox(counter, key). The coordinate of a gradient is the
/// counter and the seed is the key, so any coordinate's randomness can be computed anywhere, in any order, on any device, and
/// is always the same. Definition: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define FIMO_HOST_DEVICE __host__ __device__
#else
#define FIMO_HOST_DEVICE
#endif

// Functions shared with files compiled for one instruction set must leave no out-of-line copy behind: the linker would keep
// one copy for the whole program, and it could be the one that needs AVX-512.
#if defined(__GNUC__) || defined(__clang__)
#define FIMO_FORCE_INLINE inline __attribute__((always_inline))
#else
#define FIMO_FORCE_INLINE inline
#endif

namespace fimo {

/// The fourth counter word: keeps the random numbers of different uses apart under one seed.
enum RandomStream : std::uint32_t {
  kStreamRademacher = 0,
  kStreamSjlt = 1,
  kStreamSrhtIn = 2,
  kStreamSrhtOut = 3,
  kStreamSrhtRows = 4,
  kStreamGaussian = 5,
  kStreamMask = 6,
};

/// The 128 random bits of one counter. Bit b is bit b % 32 of word b / 32.
struct PhiloxBlock {
  std::uint32_t word[4];
};

constexpr std::uint32_t kPhiloxMultiplier0 = 0xD2511F53u;
constexpr std::uint32_t kPhiloxMultiplier1 = 0xCD9E8D57u;
constexpr std::uint32_t kPhiloxWeyl0 = 0x9E3779B9u;
constexpr std::uint32_t kPhiloxWeyl1 = 0xBB67AE85u;
constexpr int kPhiloxRounds = 10;

/// The product of two words.
struct PhiloxProduct {
  FIMO_HOST_DEVICE FIMO_FORCE_INLINE constexpr std::uint64_t operator()(std::uint32_t a, std::uint32_t b) const {
    return static_cast<std::uint64_t>(a) * b;
  }
};

/// Philox4x32-10 of the counter (c0, c1, c2, c3) under the 64-bit key (k0 low, k1 high). `Product` is how words are multiplied.
template <class Product = PhiloxProduct>
FIMO_HOST_DEVICE FIMO_FORCE_INLINE constexpr PhiloxBlock philox4x32(std::uint32_t c0, std::uint32_t c1, std::uint32_t c2,
                                                                    std::uint32_t c3, std::uint32_t k0, std::uint32_t k1) {
  for (int round = 0; round < kPhiloxRounds; ++round) {
    const std::uint64_t product0 = Product()(kPhiloxMultiplier0, c0);
    const std::uint64_t product1 = Product()(kPhiloxMultiplier1, c2);
    c0 = static_cast<std::uint32_t>(product1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<std::uint32_t>(product1);
    c2 = static_cast<std::uint32_t>(product0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<std::uint32_t>(product0);
    k0 += kPhiloxWeyl0;
    k1 += kPhiloxWeyl1;
  }
  return PhiloxBlock{{c0, c1, c2, c3}};
}

/// The form every sketch uses: a 64-bit index in the first two counter words, a part number, and the stream.
template <class Product = PhiloxProduct>
FIMO_HOST_DEVICE FIMO_FORCE_INLINE constexpr PhiloxBlock philox(std::uint64_t index, std::uint32_t part, std::uint32_t stream,
                                                                std::uint64_t seed) {
  return philox4x32<Product>(static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32), part, stream,
                             static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32));
}

FIMO_HOST_DEVICE FIMO_FORCE_INLINE constexpr bool equals(const PhiloxBlock& a, std::uint32_t w0, std::uint32_t w1,
                                                         std::uint32_t w2, std::uint32_t w3) {
  return a.word[0] == w0 && a.word[1] == w1 && a.word[2] == w2 && a.word[3] == w3;
}

/// The known answers published with Random123. Checked by every compiler that builds this library, nvcc's device pass included.
FIMO_HOST_DEVICE FIMO_FORCE_INLINE constexpr bool philox_known_answers_hold() {
  return equals(philox4x32(0, 0, 0, 0, 0, 0), 0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u) &&
         equals(philox4x32(~0u, ~0u, ~0u, ~0u, ~0u, ~0u), 0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu) &&
         equals(philox4x32(0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u, 0xa4093822u, 0x299f31d0u), 0xd16cfe09u,
                0x94fdccebu, 0x5001e420u, 0x24126ea1u);
}
static_assert(philox_known_answers_hold(), "Philox4x32-10 disagrees with the published known answers");

}  // namespace fimo
