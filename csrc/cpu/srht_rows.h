// SPDX-License-Identifier: Apache-2.0
/// \file
/// The blocks of an SRHT, the rows of their Walsh-Hadamard transform that it keeps, and the tables that bring its signs to
/// them.
#pragma once

#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include "common/mask.h"  // multiply_high
#include "common/sketch_sizes.h"
#include "cpu/workspace.h"
#include "fimo_fast/random.h"
#include "fimo_fast/sketch.h"

namespace fimo {

/// The rows of the transform an SRHT keeps: a partial Fisher-Yates shuffle, sorted. Step i exchanges entry i with entry
/// i + floor(u (L - i) / 2^64), u the first two words of philox(i, 0, kStreamSrhtRows).
inline std::vector<std::int32_t> srht_rows(const Sketch& sketch, std::int64_t block) {
  std::vector<std::int32_t> rows(static_cast<std::size_t>(block));
  std::iota(rows.begin(), rows.end(), 0);
  std::vector<bool> kept(static_cast<std::size_t>(block), false);
  for (std::int64_t i = 0; i < sketch.sketch_dim; ++i) {
    const PhiloxBlock bits = philox(static_cast<std::uint64_t>(i), 0, kStreamSrhtRows, sketch.seed);
    const std::uint64_t u = bits.word[0] | static_cast<std::uint64_t>(bits.word[1]) << 32;
    const std::uint64_t pick = multiply_high(u, static_cast<std::uint64_t>(block - i));
    std::swap(rows[static_cast<std::size_t>(i)], rows[static_cast<std::size_t>(i) + pick]);
    kept[static_cast<std::size_t>(rows[static_cast<std::size_t>(i)])] = true;
  }
  rows.clear();
  for (std::int64_t row = 0; row < block; ++row) {
    if (kept[static_cast<std::size_t>(row)]) rows.push_back(static_cast<std::int32_t>(row));
  }
  return rows;
}

struct SpreadTables {
  std::vector<std::int32_t> first;
  std::vector<std::uint32_t> moved;
};

/// The tables of SrhtSpread for these rows of a block.
inline SpreadTables spread_to(const std::vector<std::int32_t>& rows, std::int64_t block) {
  const std::size_t words = static_cast<std::size_t>(ceil_div(block, 32));
  SpreadTables tables{std::vector<std::int32_t>(words), std::vector<std::uint32_t>(5 * words)};
  std::size_t c = 0;
  for (std::size_t w = 0; w < words; ++w) {
    tables.first[w] = static_cast<std::int32_t>(c < rows.size() ? c : 0);  // no row: any bits will do
    for (std::uint32_t r = 0; c < rows.size() && static_cast<std::size_t>(rows[c]) / 32 == w; ++c, ++r) {
      const std::uint32_t distance = static_cast<std::uint32_t>(rows[c]) % 32 - r;
      for (std::uint32_t digit = 0; digit < 5; ++digit) {
        // The large moves come first, so that bits never pass each other.
        const std::uint32_t place = r + (distance >> digit << digit);
        if (distance >> digit & 1u) tables.moved[5 * w + digit] |= 1u << place;
      }
    }
  }
  return tables;
}

}  // namespace fimo
