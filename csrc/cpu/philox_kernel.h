// SPDX-License-Identifier: Apache-2.0
/// \file
/// Philox for many consecutive counters, one counter a lane.
#pragma once

#include <cstdint>

#include "fimo_fast/random.h"

namespace fimo::FIMO_ISA {
namespace {

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
    typename U::Reg c0 = U::add(U::set(low), U::iota());
    typename U::Reg c1 = U::set(static_cast<std::uint32_t>(index >> 32));
    typename U::Reg c2 = U::set(part);
    typename U::Reg c3 = U::set(stream);
    std::uint32_t k0 = static_cast<std::uint32_t>(seed);
    std::uint32_t k1 = static_cast<std::uint32_t>(seed >> 32);
    for (int round = 0; round < kPhiloxRounds; ++round) {
      typename U::Reg high0, low0, high1, low1;
      U::multiply(c0, kPhiloxMultiplier0, &high0, &low0);
      U::multiply(c2, kPhiloxMultiplier1, &high1, &low1);
      c0 = U::bit_xor(U::bit_xor(high1, c1), U::set(k0));
      c1 = low1;
      c2 = U::bit_xor(U::bit_xor(high0, c3), U::set(k1));
      c3 = low0;
      k0 += kPhiloxWeyl0;
      k1 += kPhiloxWeyl1;
    }
    U::store_blocks(out + 4 * i, c0, c1, c2, c3);
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
