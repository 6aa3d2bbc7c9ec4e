// SPDX-License-Identifier: Apache-2.0
#include "ptx/ranges.h"

#include <map>

namespace ptx {

std::uint64_t last_begin = 0, last_end = 0;

namespace {

/// Ends by begins.
std::map<std::uint64_t, std::uint64_t>& ranges() {
  static std::map<std::uint64_t, std::uint64_t> all;
  return all;
}

}  // namespace

Range::Range(const void* begin, std::size_t bytes) : begin_(reinterpret_cast<std::uintptr_t>(begin)) {
  ranges()[begin_] = begin_ + bytes;
}

Range::~Range() {
  ranges().erase(begin_);
  last_begin = last_end = 0;
}

bool in_another_range(std::uint64_t address, std::uint64_t bytes) {
  auto next = ranges().upper_bound(address);
  if (next == ranges().begin()) return false;
  --next;
  if (address + bytes > next->second) return false;
  last_begin = next->first, last_end = next->second;
  return true;
}

}  // namespace ptx
