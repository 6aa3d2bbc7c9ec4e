// SPDX-License-Identifier: Apache-2.0
/// \file
/// Philox for many consecutive counters, one counter a lane.
#pragma once

#include <cstdint>

#include "fimo_fast/random.h"

namespace fimo::FIMO_ISA {
namespace {

/// The rounds of Philox on a vector of counters; c[w] becomes word w.
FIMO_FORCE_INLINE void philox_rounds(SimdU32::Reg (&c)[4], std::uint64_t seed) {
  using U = SimdU32;
  std::uint32_t k0 = static_cast<std::uint32_t>(seed);
  std::uint32_t k1 = static_cast<std::uint32_t>(seed >> 32);
  for (int round = 0; round < kPhiloxRounds; ++round) {
    typename U::Reg high0, low0, high1, low1;
    U::multiply(c[0], kPhiloxMultiplier0, &high0, &low0);
    U::multiply(c[2], kPhiloxMultiplier1, &high1, &low1);
    c[0] = U::bit_xor(U::bit_xor(high1, c[1]), U::set(k0));
    c[1] = low1;
    c[2] = U::bit_xor(U::bit_xor(high0, c[3]), U::set(k1));
    c[3] = low0;
    k0 += kPhiloxWeyl0;
    k1 += kPhiloxWeyl1;
  }
}

/// out[4 * i + w] = word w of philox(first + i, part, stream, seed), i < count.
void philox_fill(std::uint32_t* out, std::uint64_t first, std::int64_t count, std::uint32_t part, std::uint32_t stream,
                 std::uint64_t seed) {
  using U = SimdU32;
  std::int64_t i = 0;
  while (i < count) {
    const std::uint64_t index = first + static_cast<std::uint64_t>(i);
    const std::uint32_t low = static_cast<std::uint32_t>(index);
    // A vector shares its high counter word; the last counters before a multiple of 2^32 go one by one.
    if (count - i < U::kLanes || low > 0xFFFFFFFFu - U::kLanes) {
      const PhiloxBlock block = philox(index, part, stream, seed);
      for (int w = 0; w < 4; ++w) out[4 * i + w] = block.word[w];
      ++i;
      continue;
    }
    typename U::Reg c[4] = {U::add(U::set(low), U::iota()), U::set(static_cast<std::uint32_t>(index >> 32)), U::set(part),
                            U::set(stream)};
    philox_rounds(c, seed);
    U::store_blocks(out + 4 * i, c[0], c[1], c[2], c[3]);
    i += U::kLanes;
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
