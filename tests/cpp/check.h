// SPDX-License-Identifier: Apache-2.0
/// \file
/// What the C++ tests share: counting checks, naming the case at hand, instruction sets, and numbers that are the same on every
/// machine.
#pragma once

#include <cstdint>
#include <sstream>
#include <string>
#include <vector>

#include "fimo_fast/build_info.h"
#include "fimo_fast/random.h"

namespace check {

struct Counts {
  std::int64_t checks = 0;
  std::int64_t failures = 0;
};
/// Of the instruction set in use.
Counts& counts();

/// Says what is being computed. Printed with failures, and when a signal or a sanitizer ends the program.
void set_case(const std::string& description);

template <class... Parts>
void begin_case(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  set_case(text.str());
}

void expect(bool condition, const char* what);

/// Runs body(threads) on every instruction set of this machine and with 1, 2 and 3 threads.
template <class Body>
void on_every_isa(const Body& body) {
  for (const std::string& isa : fimo::available_isas()) {
    fimo::set_isa(isa);
    for (const int threads : {1, 2, 3}) body(threads);
  }
}

/// Philox once more, as a sequence: the standard library's distributions differ between implementations. (So does the order in
/// which arguments of a call are evaluated: draw one number for each call, or list them in braces.)
class Random {
 public:
  explicit Random(std::uint64_t seed) : seed_(seed) {}

  std::uint32_t word() {
    const fimo::PhiloxBlock block = fimo::philox(count_ / 4, 0, 1000, seed_);
    return block.word[count_++ % 4];
  }
  std::uint64_t long_word() {
    const std::uint64_t low = word();
    return low | static_cast<std::uint64_t>(word()) << 32;
  }
  /// An integer in [low, high].
  std::int64_t integer(std::int64_t low, std::int64_t high) {
    const std::uint64_t count = static_cast<std::uint64_t>(high - low) + 1;
    return low + static_cast<std::int64_t>((long_word() >> 1) % count);
  }
  template <class T>
  T pick(const std::vector<T>& from) {
    return from[static_cast<std::size_t>(integer(0, static_cast<std::int64_t>(from.size()) - 1))];
  }

 private:
  std::uint64_t seed_;
  std::uint64_t count_ = 0;
};

/// Nothing, one, and either side of every number of lanes; a prime; two odd ones.
inline const std::vector<std::int64_t> kSizes{0, 1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 97};

}  // namespace check
