// SPDX-License-Identifier: Apache-2.0
// cp.async: copies that land at the wait. Until then their target holds poison, so that reading it early shows, and so does
// starting a copy into what other threads still read.
#pragma once

namespace emulator {

struct AsyncCopy {
  void* to;
  const void* from;
  unsigned bytes, source_bytes;  // zeros follow the source's
  unsigned group;
};

void copy_async(void* to, const void* from, unsigned bytes, unsigned source_bytes);
void copy_async_commit();
/// Lands all but the last `keep` groups of this thread.
void copy_async_wait(unsigned keep);

}  // namespace emulator
