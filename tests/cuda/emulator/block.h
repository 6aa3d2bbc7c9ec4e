// SPDX-License-Identifier: Apache-2.0
// The block that runs: its threads, what each waits for, and which can run. Internal to the emulator.
#pragma once

#include <exception>
#include <string>
#include <vector>

#include "emulator/async_copy.h"
#include "emulator/fibers.h"
#include "emulator/scheduler.h"

namespace emulator {

constexpr unsigned kMaxThreads = 1024;
constexpr unsigned kBarriers = 16;
constexpr unsigned kWarps = kMaxThreads / 32;
constexpr unsigned kMasks = 40;  // of __syncwarp in a warp, that are told apart

enum class State : unsigned char { ready, at_barrier, in_collective, ended };

struct Thread {
  Cursor cursor;  // first: `current` points to it
  Fiber fiber;
  State state = State::ready;

  // Where it waits at a barrier, and what it brings and takes.
  unsigned barrier = 0;
  const char* file = nullptr;
  int line = 0;
  bool predicate = false;
  unsigned with_predicate = 0, participants = 0;

  // The collective that it waits in.
  unsigned mask = 0;
  const char* name = nullptr;
  void* arguments = nullptr;
  Collective collective = nullptr;
  bool orders_memory = false;

  // Copies that it has started, and the group that the next one belongs to.
  std::vector<AsyncCopy> copies;
  unsigned group = 0;

  // Fences: whether it has passed one, and the atomic that the next one may read from.
  bool fenced = false;
  void* last_atomic = nullptr;
};

/// Addresses that stand for synchronizations (sanitizers.h). Two of each, in turn: a thread that runs ahead to the next barrier
/// must not publish to those that are still in this one. Each block has its own, or blocks would seem ordered.
struct Tags {
  char barrier[kBarriers][2];
  char warp[kWarps][kMasks][2];
  char rare_mask[kWarps];
};

struct Block {
  Thread* threads = nullptr;
  unsigned count = 0, alive = 0;
  unsigned ready[kMaxThreads];  // numbers of threads that can run
  unsigned ready_count = 0;
  unsigned waiting[kBarriers] = {};
  unsigned phase[kBarriers] = {};
  struct KnownMask {
    unsigned mask, phase;
  };
  std::vector<KnownMask> masks[kWarps];
  Tags* tags = nullptr;
  std::exception_ptr error;
};
extern Block block;

inline Thread& running() { return *reinterpret_cast<Thread*>(current); }
inline void make_ready(unsigned thread) {
  block.threads[thread].state = State::ready;
  block.ready[block.ready_count++] = thread;
}

/// Where a thread is, for messages.
std::string describe(const Thread& thread);

/// What an end of a thread may complete: a barrier or collective of those that are left.
void barrier_after_exit();
void collective_after_exit(unsigned warp);

}  // namespace emulator
