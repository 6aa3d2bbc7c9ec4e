// SPDX-License-Identifier: Apache-2.0
// The dynamic shared memory of blocks. Internal to the emulator.
#pragma once

#include <cstddef>
#include <cstdint>

namespace emulator {

/// Aligned to 128 bytes (as shared<T>() asks nvcc for), full of NaN when a block starts, and as large as the launch says to
/// the byte, so that AddressSanitizer sees what is behind it. One for all blocks, except under ThreadSanitizer: there every
/// block has its own, or accesses of different blocks would seem to race.
class SharedMemory {
 public:
  SharedMemory(std::uint64_t blocks, std::size_t bytes);
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  /// That of a block which starts.
  unsigned char* of(std::uint64_t block);

 private:
  std::size_t bytes_, stride_;
  unsigned char* data_ = nullptr;
};

}  // namespace emulator
