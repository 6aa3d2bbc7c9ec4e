// SPDX-License-Identifier: Apache-2.0
/// \file
/// Philox for many consecutive counters, one counter a lane.
#pragma once

#include <cstdint>

#include "fimo_fast/random.h"

#if defined(FIMO_ISA)
namespace fimo::FIMO_ISA {
namespace {

/// The rounds of Philox on N vectors of counters; c[i][w] becomes word w. A round is a chain of seven or eight cycles with
/// little to do beside it: two vectors at once take hardly longer than one.
template <int N>
FIMO_FORCE_INLINE void philox_rounds(SimdU32::Reg (&c)[N][4], std::uint64_t seed) {
  using U = SimdU32;
  std::uint32_t k0 = static_cast<std::uint32_t>(seed);
  std::uint32_t k1 = static_cast<std::uint32_t>(seed >> 32);
  FIMO_UNROLL
  for (int round = 0; round < kPhiloxRounds; ++round) {
    FIMO_UNROLL
    for (int i = 0; i < N; ++i) {
      typename U::Reg high0, low0, high1, low1;
      U::multiply(c[i][0], kPhiloxMultiplier0, &high0, &low0);
      U::multiply(c[i][2], kPhiloxMultiplier1, &high1, &low1);
      c[i][0] = U::bit_xor(U::bit_xor(high1, c[i][1]), U::set(k0));
      c[i][1] = low1;
      c[i][2] = U::bit_xor(U::bit_xor(high0, c[i][3]), U::set(k1));
      c[i][3] = low0;
    }
    k0 += kPhiloxWeyl0;
    k1 += kPhiloxWeyl1;
  }
}

/// out[4 * i + w] = word w of philox(first + i, part, stream, seed), i < N * lanes. They must not pass a multiple of 2^32.
template <int N>
FIMO_FORCE_INLINE void philox_store(std::uint32_t* out, std::uint64_t first, std::uint32_t part, std::uint32_t stream,
                                    std::uint64_t seed) {
  using U = SimdU32;
  typename U::Reg c[N][4];
  FIMO_UNROLL
  for (int i = 0; i < N; ++i) {
    c[i][0] = U::add(U::set(static_cast<std::uint32_t>(first) + static_cast<std::uint32_t>(i * U::kLanes)), U::iota());
    c[i][1] = U::set(static_cast<std::uint32_t>(first >> 32));
    c[i][2] = U::set(part);
    c[i][3] = U::set(stream);
  }
  philox_rounds(c, seed);
  FIMO_UNROLL
  for (int i = 0; i < N; ++i) U::store_blocks(out + 4 * i * U::kLanes, c[i][0], c[i][1], c[i][2], c[i][3]);
}

/// out[4 * i + w] = word w of philox(first + i, part, stream, seed), i < count.
void philox_fill(std::uint32_t* out, std::uint64_t first, std::int64_t count, std::uint32_t part, std::uint32_t stream,
                 std::uint64_t seed) {
  constexpr std::int64_t kLanes = SimdU32::kLanes;
  std::int64_t i = 0;
  while (i < count) {
    const std::uint64_t index = first + static_cast<std::uint64_t>(i);
    // A vector shares its high counter word; the last counters before a multiple of 2^32 go one by one.
    const std::uint64_t left = 0x100000000u - (index & 0xFFFFFFFFu);
    if (count - i >= 2 * kLanes && left >= 2 * kLanes) {
      philox_store<2>(out + 4 * i, index, part, stream, seed);
      i += 2 * kLanes;
    } else if (count - i >= kLanes && left >= kLanes) {
      philox_store<1>(out + 4 * i, index, part, stream, seed);
      i += kLanes;
    } else {
      const PhiloxBlock block = philox(index, part, stream, seed);
      for (int w = 0; w < 4; ++w) out[4 * i + w] = block.word[w];
      ++i;
    }
  }
}

/// out[i] = x[i] * scale in the accumulator type, i < count: the one rounding that a sketch applies before adding.
template <class Element>
FIMO_FORCE_INLINE void load_scaled(typename Accumulator<Element>::type* out, const Element* x, std::int64_t count,
                                   double scale) {
  using T = typename Accumulator<Element>::type;
  using S = Simd<T>;
  const T factor = static_cast<T>(scale);
  const typename S::Reg factors = S::set(factor);
  std::int64_t i = 0;
  for (; i + S::kLanes <= count; i += S::kLanes) S::store(out + i, S::mul(S::load(x + i), factors));
  for (; i < count; ++i) out[i] = to_accumulator(x[i]) * factor;
}

}  // namespace
}  // namespace fimo::FIMO_ISA
#endif
