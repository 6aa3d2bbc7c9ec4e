// SPDX-License-Identifier: Apache-2.0
#include "emulator/async_copy.h"

#include <cstring>

#include "emulator/block.h"
#include "emulator/sanitizers.h"

namespace emulator {

// memcpy and memset here are calls (-fno-builtin), which sanitizers look at as accesses of this thread. So a copy counts as
// one at its start and at its end: races of both are seen, and what lies out of bounds.

void copy_async(void* to, const void* from, unsigned bytes, unsigned source_bytes) {
  char unused[16];
  if (bytes > sizeof(unused) || source_bytes > bytes) fail("cp.async: more than 16 bytes");
  const auto* begin = current->shared;
  const auto* target = static_cast<unsigned char*>(to);
  if (target < begin || target + bytes > begin + current->shared_bytes) fail("cp.async: the target is not in shared memory");
  std::memcpy(unused, from, source_bytes);
  std::memset(to, 0xFF, bytes);
  IgnoreAccesses bookkeeping;
  Thread& thread = running();
  thread.copies.push_back({to, from, bytes, source_bytes, thread.group});
}

void copy_async_commit() { ++running().group; }

void copy_async_wait(unsigned keep) {
  Thread& thread = running();
  std::size_t kept = 0;
  for (const AsyncCopy& copy : thread.copies) {
    if (copy.group + keep < thread.group) {
      std::memcpy(copy.to, copy.from, copy.source_bytes);
      std::memset(static_cast<char*>(copy.to) + copy.source_bytes, 0, copy.bytes - copy.source_bytes);
    } else {
      thread.copies[kept++] = copy;
    }
  }
  thread.copies.resize(kept);
}

}  // namespace emulator
