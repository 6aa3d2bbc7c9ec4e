// SPDX-License-Identifier: Apache-2.0
#include "emulator/shared_memory.h"

#include <cstdlib>

#include "emulator/sanitizers.h"
#include "emulator/scheduler.h"

namespace emulator {
namespace {

constexpr std::size_t kAlignment = 128;
constexpr std::uint64_t kLargest = std::uint64_t{2} << 30;

}  // namespace

SharedMemory::SharedMemory(std::uint64_t blocks, std::size_t bytes)
    : bytes_(bytes), stride_(kSeesRaces ? (bytes + kAlignment - 1) / kAlignment * kAlignment : 0) {
  if (!bytes) return;
  if (stride_ * blocks > kLargest) throw Error("emulator: too many blocks with shared memory for ThreadSanitizer");
  const std::size_t all = kSeesRaces ? stride_ * blocks : bytes;
  void* memory = nullptr;
  if (posix_memalign(&memory, kAlignment, all)) throw Error("emulator: no shared memory");
  data_ = static_cast<unsigned char*>(memory);
}

SharedMemory::~SharedMemory() { std::free(data_); }

unsigned char* SharedMemory::of(std::uint64_t block) {
  unsigned char* memory = data_ + block * stride_;
  // Not memset, which sanitizers look at: this is no access of a thread of the kernel.
  for (std::size_t i = 0; i < bytes_; ++i) static_cast<volatile unsigned char*>(memory)[i] = 0xFF;
  return memory;
}

}  // namespace emulator
