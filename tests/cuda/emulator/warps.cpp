// SPDX-License-Identifier: Apache-2.0
// Collectives of a warp.
#include <cstring>

#include "emulator/block.h"
#include "emulator/sanitizers.h"

namespace emulator {
namespace {

unsigned exited_of(unsigned warp) {
  unsigned mask = 0;
  for (unsigned lane = 0; lane < 32; ++lane) {
    const unsigned i = warp * 32 + lane;
    if (i >= block.count || block.threads[i].state == State::ended) mask |= 1u << lane;
  }
  return mask;
}

/// The phase of the lanes that call __syncwarp with this mask (all of them come before one can come again, so they share it);
/// null for masks beyond kMasks.
Block::KnownMask* known_mask(unsigned warp, unsigned mask) {
  auto& masks = block.masks[warp];
  for (auto& known : masks) {
    if (known.mask == mask) return &known;
  }
  if (masks.size() == kMasks) return nullptr;
  masks.push_back({mask, 0});
  return &masks.back();
}

/// The address that stands for what a __syncwarp orders. Those of rare masks share one, which orders more than it should.
void* tag_of(unsigned warp, unsigned mask) {
  IgnoreAccesses bookkeeping;
  const Block::KnownMask* known = known_mask(warp, mask);
  return known ? &block.tags->warp[warp][known - block.masks[warp].data()][known->phase] : &block.tags->rare_mask[warp];
}

/// Runs the collective if all live lanes of the mask wait in it; `caller` is the thread that runs, or none.
bool complete(unsigned warp, unsigned mask, const Thread* caller) {
  const unsigned live = mask & ~exited_of(warp);
  if (!live) return false;
  void* arguments[32] = {};
  const Thread* first = nullptr;
  for (unsigned lane = 0; lane < 32; ++lane) {
    if (!(live >> lane & 1)) continue;
    const Thread& thread = block.threads[warp * 32 + lane];
    if (thread.state != State::in_collective || thread.mask != mask) return false;
    if (!first) first = &thread;
    if (std::strcmp(first->name, thread.name)) {
      fail(std::string("divergent collectives of a warp: ") + first->name + " and " + thread.name);
    }
    arguments[lane] = thread.arguments;
  }
  {
    IgnoreAccesses registers;  // what a collective exchanges is no memory
    first->collective(arguments, live);
    if (first->orders_memory) {
      if (Block::KnownMask* known = known_mask(warp, mask)) known->phase ^= 1;
    }
  }
  for (unsigned lane = 0; lane < 32; ++lane) {
    if (!(live >> lane & 1)) continue;
    Thread& thread = block.threads[warp * 32 + lane];
    if (&thread == caller) {
      thread.state = State::ready;  // and runs on
    } else {
      make_ready(warp * 32 + lane);
    }
  }
  return true;
}

}  // namespace

unsigned exited_lanes() { return exited_of(current->lin / 32); }

void warp_collective(unsigned mask, const char* name, void* arguments, Collective collective, bool orders_memory) {
  Thread& thread = running();
  const unsigned warp = thread.cursor.lin / 32;
  if (!(mask >> thread.cursor.lane & 1)) fail(std::string(name) + ": the lane that calls is not in the mask");
  void* tag = orders_memory ? tag_of(warp, mask) : nullptr;
  if (tag) release(tag);
  thread.state = State::in_collective;
  thread.mask = mask;
  thread.name = name;
  thread.arguments = arguments;
  thread.collective = collective;
  thread.orders_memory = orders_memory;
  if (!complete(warp, mask, &thread)) {
    leave(thread.fiber);
  } else if (options.schedule != Schedule::fifo) {
    make_ready(thread.cursor.lin);
    leave(thread.fiber);
  }
  if (tag) acquire(tag);
}

void collective_after_exit(unsigned warp) {
  for (unsigned i = warp * 32; i < warp * 32 + 32 && i < block.count; ++i) {
    if (block.threads[i].state == State::in_collective && complete(warp, block.threads[i].mask, nullptr)) return;
  }
}

}  // namespace emulator
