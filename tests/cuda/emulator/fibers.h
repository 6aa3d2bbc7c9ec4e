// SPDX-License-Identifier: Apache-2.0
// Fibers: stacks, the switch between them, and what sanitizers must know about it.
#pragma once

#include <cstddef>

namespace emulator {

/// How many fibers a thread's number has, taken in turn by blocks. To ThreadSanitizer accesses of one fiber are ordered, so
/// blocks that shared fibers could not race. Large blocks have fewer: what a barrier costs it grows with their square.
constexpr unsigned fiber_sets(unsigned threads) {
#if defined(FIMO_EMULATE_TSAN)
  return threads <= 256 ? 4 : 2;
#else
  return threads ? 1 : 0;
#endif
}

struct Fiber {
  void* stack_pointer = nullptr;
  char* stack = nullptr;
  void* tsan = nullptr;        // ThreadSanitizer's name for it
  void* fake_stack = nullptr;  // AddressSanitizer's
};

/// Called before a kernel: forgets what failed ones have left on stacks.
void prepare_fibers();

/// Fiber `index`, about to call entry(), which must not return. The fewer are used at all, the cheaper is a barrier.
Fiber new_fiber(unsigned index, void (*entry)());

/// From the scheduler to a fiber, until it leaves.
void enter(Fiber& fiber);

/// From the fiber that runs to the scheduler; with `last` it is never entered again.
void leave(Fiber& fiber, bool last = false);

/// For a fiber that is never entered again, though it has not ended: publishes (sanitizers.h) in its name.
void release_of(const Fiber& fiber, void* tag);

/// The first thing that entry() calls.
void fiber_started();

}  // namespace emulator
