// SPDX-License-Identifier: Apache-2.0
// Barriers of a block.
#include <cstring>

#include "emulator/block.h"
#include "emulator/sanitizers.h"

namespace emulator {
namespace {

bool waits_at(const Thread& thread, unsigned id) { return thread.state == State::at_barrier && thread.barrier == id; }

bool same_place(const Thread& a, const Thread& b) {
  return a.line == b.line && (a.file == b.file || (a.file && b.file && !std::strcmp(a.file, b.file)));
}

void open_barrier(unsigned id) {
  block.waiting[id] = 0;
  block.phase[id] ^= 1;
  unsigned with_predicate = 0, participants = 0;
  const Thread* first = nullptr;
  for (unsigned i = 0; i < block.count; ++i) {
    const Thread& thread = block.threads[i];
    if (!waits_at(thread, id)) continue;
    if (!first) first = &thread;
    if (!same_place(*first, thread)) {
      fail("divergent barrier: thread " + std::to_string(first->cursor.lin) + " is at line " + std::to_string(first->line) +
           ", thread " + std::to_string(i) + " at line " + std::to_string(thread.line));
    }
    with_predicate += thread.predicate;
    ++participants;
  }
  for (unsigned k = 0; k < block.count; ++k) {
    // The last one made ready runs first.
    const unsigned i = options.schedule == Schedule::lifo ? k : block.count - 1 - k;
    Thread& thread = block.threads[i];
    if (!waits_at(thread, id)) continue;
    thread.with_predicate = with_predicate;
    thread.participants = participants;
    make_ready(i);
  }
}

}  // namespace

void barrier(unsigned id, unsigned count, const char* file, int line) {
  if (id >= kBarriers) fail("no such barrier");
  Thread& thread = running();
  void* tag = &block.tags->barrier[id][block.phase[id]];
  thread.file = file;
  thread.line = line;
  release(tag);
  thread.state = State::at_barrier;
  thread.barrier = id;
  if (++block.waiting[id] == (count ? count : block.alive)) open_barrier(id);
  leave(thread.fiber);
  acquire(tag);
}

unsigned barrier_reduce(bool predicate, Reduction reduction, const char* file, int line) {
  Thread& thread = running();
  thread.predicate = predicate;
  barrier(0, 0, file, line);
  thread.predicate = false;
  switch (reduction) {
    case Reduction::count: return thread.with_predicate;
    case Reduction::all: return thread.with_predicate == thread.participants;
    case Reduction::any: return thread.with_predicate != 0;
  }
  return 0;
}

void barrier_after_exit() {
  if (block.alive && block.waiting[0] == block.alive) open_barrier(0);
}

}  // namespace emulator
