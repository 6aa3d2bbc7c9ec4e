// SPDX-License-Identifier: Apache-2.0
// The arrays of global memory, so that translated kernels touch nothing else. (Code that g++ makes of kernels has
// AddressSanitizer for that, which does not know what PTX computes.)
#pragma once

#include <cstddef>
#include <cstdint>

namespace ptx {

/// While it lives, kernels may touch these bytes.
class Range {
 public:
  Range(const void* begin, std::size_t bytes);
  ~Range();
  Range(const Range&) = delete;
  Range& operator=(const Range&) = delete;

 private:
  std::uint64_t begin_;
};

/// Begin and end of the one that was touched last.
extern std::uint64_t last_begin, last_end;

bool in_another_range(std::uint64_t address, std::uint64_t bytes);

/// Whether all bytes lie in one range.
inline bool in_range(std::uint64_t address, std::uint64_t bytes) {
  return (address >= last_begin && address + bytes <= last_end) || in_another_range(address, bytes);
}

}  // namespace ptx
