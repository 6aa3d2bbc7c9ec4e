// SPDX-License-Identifier: Apache-2.0
// Fibers: stacks, the switch between them, and what sanitizers must know about it.
#pragma once

#include <cstddef>

namespace emulator {

/// How many fibers a CUDA thread's number has under ThreadSanitizer, taken in turn by blocks: to it, accesses of one fiber are
/// ordered, so blocks that shared fibers could not race.
#if defined(FIMO_EMULATE_TSAN)
constexpr unsigned kFiberSets = 4;
#else
constexpr unsigned kFiberSets = 1;
#endif

struct Fiber {
  void* stack_pointer = nullptr;
  char* stack = nullptr;
  void* tsan = nullptr;        // ThreadSanitizer's name for it
  void* fake_stack = nullptr;  // AddressSanitizer's
};

/// Creates the stacks of `threads` fibers, and forgets what failed kernels have left on them.
void prepare_fibers(unsigned threads);

/// A fiber on stack `thread` of a set, about to call entry(), which must not return.
Fiber new_fiber(unsigned thread, unsigned set, void (*entry)());

/// From the scheduler to a fiber, until it leaves.
void enter(Fiber& fiber);

/// From the fiber that runs to the scheduler; with `last` it is never entered again.
void leave(Fiber& fiber, bool last = false);

/// For a fiber that is never entered again, though it has not ended: publishes (sanitizers.h) in its name.
void release_of(const Fiber& fiber, void* tag);

/// The first thing that entry() calls.
void fiber_started();

}  // namespace emulator
