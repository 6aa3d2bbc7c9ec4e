// SPDX-License-Identifier: Apache-2.0
#include "emulator/shared_memory.h"

#include <sys/mman.h>

#include <cstdlib>

#include "emulator/sanitizers.h"
#include "emulator/scheduler.h"

namespace emulator {
namespace {

constexpr std::size_t kAlignment = 128;
constexpr std::uint64_t kLargest = std::uint64_t{2} << 30;

}  // namespace

SharedMemory::SharedMemory(std::uint64_t blocks, std::size_t bytes, bool low)
    : bytes_(bytes), stride_(kSeesRaces ? (bytes + kAlignment - 1) / kAlignment * kAlignment : 0) {
  if (!bytes) return;
  if (stride_ * blocks > kLargest) throw Error("emulator: too many blocks with shared memory for ThreadSanitizer");
  const std::size_t all = kSeesRaces ? stride_ * blocks : bytes;
  void* memory = nullptr;
  if (low) {
    memory = mmap(nullptr, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    if (memory == MAP_FAILED) throw Error("emulator: no memory below 4 GiB");
    mapped_ = all;
  } else if (posix_memalign(&memory, kAlignment, all)) {
    throw Error("emulator: no shared memory");
  }
  data_ = static_cast<unsigned char*>(memory);
}

SharedMemory::~SharedMemory() {
  if (mapped_) {
    munmap(data_, mapped_);
  } else {
    std::free(data_);
  }
}

unsigned char* SharedMemory::of(std::uint64_t block) {
  unsigned char* memory = data_ + block * stride_;
  // Not memset, which sanitizers look at: this is no access of a thread of the kernel.
  for (std::size_t i = 0; i < bytes_; ++i) static_cast<volatile unsigned char*>(memory)[i] = 0xFF;
  return memory;
}

}  // namespace emulator
