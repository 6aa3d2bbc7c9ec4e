// SPDX-License-Identifier: Apache-2.0
#include "emulator/scheduler.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <numeric>

#include "emulator/block.h"
#include "emulator/sanitizers.h"
#include "emulator/shared_memory.h"

namespace emulator {

Cursor* current = nullptr;
Options options;
Block block;

namespace {

char grid_begins, grid_ends;  // tags
std::uint64_t random_state;
std::vector<Thread> threads;
void (*kernel_body)(void*);
void* kernel_context;

std::uint64_t random_number() {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state;
}

void read_environment() {
  static bool is_read = false;
  if (is_read) return;
  is_read = true;
  if (const char* text = std::getenv("FIMO_EMULATOR_SCHEDULE")) {
    if (!std::strcmp(text, "lifo")) {
      options.schedule = Schedule::lifo;
    } else if (!std::strncmp(text, "random", 6)) {
      options.schedule = Schedule::random;
      if (text[6] == ':') options.seed = std::strtoull(text + 7, nullptr, 10);
    } else if (std::strcmp(text, "fifo")) {
      throw Error("emulator: FIMO_EMULATOR_SCHEDULE is fifo, lifo or random:SEED");
    }
  }
  if (const char* text = std::getenv("FIMO_EMULATOR_SHARED_LIMIT")) options.shared_limit = std::strtoull(text, nullptr, 10);
}

void check_limits(dim3 grid, dim3 size, std::size_t shared_bytes) {
  const std::uint64_t count = std::uint64_t{size.x} * size.y * size.z;
  if (count == 0 || count > kMaxThreads || size.z > 64) throw Error("emulator: a block has 1 to 1024 threads, at most 64 in z");
  if (!grid.x || !grid.y || !grid.z || grid.x > 0x7FFFFFFFu || grid.y > 65535 || grid.z > 65535) {
    throw Error("emulator: a grid has 1 to 2^31 - 1 blocks in x, and to 65535 in y and z");
  }
  if (shared_bytes > options.shared_limit) {
    throw Error("emulator: " + std::to_string(shared_bytes) + " bytes of shared memory; a block has " +
                std::to_string(options.shared_limit));
  }
}

void record_error() {
  if (!block.error) block.error = std::current_exception();
}

/// What every fiber runs: a thread of the kernel.
void thread_main() {
  fiber_started();
  acquire(&grid_begins);
  Thread& thread = running();
  try {
    kernel_body(kernel_context);
    if (!thread.copies.empty()) fail("the thread has ended with copies under way");
  } catch (...) {
    record_error();
  }
  release(&grid_ends);
  try {
    thread.state = State::ended;
    --block.alive;
    collective_after_exit(thread.cursor.lin / 32);
    barrier_after_exit();
  } catch (...) {
    record_error();
  }
  leave(thread.fiber, true);
  std::abort();
}

void start_block(std::uint64_t number, dim3 grid, dim3 size, unsigned char* shared, std::size_t shared_bytes, unsigned set) {
  block.threads = threads.data();
  block.count = block.alive = static_cast<unsigned>(threads.size());
  block.ready_count = 0;
  std::fill_n(block.waiting, kBarriers, 0u);
  std::fill_n(block.phase, kBarriers, 0u);
  for (auto& masks : block.masks) masks.clear();
  const uint3 index{static_cast<unsigned>(number % grid.x), static_cast<unsigned>(number / grid.x % grid.y),
                    static_cast<unsigned>(number / grid.x / grid.y)};
  for (unsigned i = 0; i < block.count; ++i) {
    Thread& thread = threads[i];
    thread.cursor = {
        {i % size.x, i / size.x % size.y, i / size.x / size.y}, index, size, grid, i, i % 32, shared, shared_bytes};
    thread.fiber = new_fiber(set * block.count + i, thread_main);
    thread.predicate = thread.fenced = false;
    thread.last_atomic = nullptr;
    thread.copies.clear();
    thread.group = 0;
  }
  for (unsigned k = 0; k < block.count; ++k) {
    make_ready(options.schedule == Schedule::lifo ? k : block.count - 1 - k);  // the last one runs first
  }
}

void run_block() {
  while (block.ready_count && !block.error) {
    const bool random = options.schedule == Schedule::random;
    const unsigned k = random ? static_cast<unsigned>(random_number() % block.ready_count) : block.ready_count - 1;
    Thread& thread = threads[block.ready[k]];
    block.ready[k] = block.ready[--block.ready_count];
    current = &thread.cursor;
    enter(thread.fiber);
  }
  current = nullptr;
  for (const Thread& thread : threads) {
    if (thread.state != State::ended) release_of(thread.fiber, &grid_ends);
  }
  if (!block.alive || block.error) return;
  std::string message = "emulator: deadlock, " + std::to_string(block.alive) + " threads wait:";
  int shown = 0;
  for (const Thread& thread : threads) {
    if (thread.state != State::ended && shown++ < 4) message += "\n  " + describe(thread);
  }
  block.error = std::make_exception_ptr(Error(message));
}

/// The order in which blocks run. Very large grids run in order, whatever the schedule.
class BlockOrder {
 public:
  explicit BlockOrder(std::uint64_t blocks) : blocks_(blocks) {
    if (options.schedule != Schedule::random || blocks > (1u << 20)) return;
    order_.resize(blocks);
    std::iota(order_.begin(), order_.end(), 0u);
    for (std::size_t i = blocks; i > 1; --i) std::swap(order_[i - 1], order_[random_number() % i]);
  }
  std::uint64_t at(std::uint64_t i) const {
    if (!order_.empty()) return order_[i];
    return options.schedule == Schedule::lifo ? blocks_ - 1 - i : i;
  }

 private:
  std::uint64_t blocks_;
  std::vector<std::uint32_t> order_;
};

/// Of `sets` blocks one after another all have different fibers; others mostly.
unsigned fiber_set(std::uint64_t number, unsigned sets) {
  const std::uint64_t group = number / sets * 0x9E3779B97F4A7C15u;
  return static_cast<unsigned>((number + (group >> 60)) % sets);
}

}  // namespace

std::string describe(const Thread& thread) {
  char text[160];
  const uint3 b = thread.cursor.bid;
  std::snprintf(text, sizeof(text), "block (%u, %u, %u) thread %u ", b.x, b.y, b.z, thread.cursor.lin);
  std::string result = text;
  switch (thread.state) {
    case State::ready: return result + "runs";
    case State::ended: return result + "has ended";
    case State::at_barrier: return result + "waits at a barrier in line " + std::to_string(thread.line);
    case State::in_collective: std::snprintf(text, sizeof(text), "waits in %s, mask 0x%08x", thread.name, thread.mask);
  }
  return result + text;
}

void fail(const std::string& message) {
  throw Error("emulator: " + message + (current ? " [" + describe(running()) + "]" : ""));
}

void fence() {
  Thread& thread = running();
  thread.fenced = true;
  if (thread.last_atomic) acquire(thread.last_atomic);
}

void before_atomic(const void* address) {
  Thread& thread = running();
  thread.last_atomic = const_cast<void*>(address);
  if (thread.fenced) release(thread.last_atomic);
}

void run_grid(dim3 grid, dim3 size, std::size_t shared_bytes, void (*body)(void*), void* context) {
  read_environment();
  check_limits(grid, size, shared_bytes);
  const std::uint64_t blocks = std::uint64_t{grid.x} * grid.y * grid.z;
  random_state = options.seed * 0x9E3779B97F4A7C15u + 1;
  threads.resize(size.x * size.y * size.z);
  prepare_fibers();
  kernel_body = body;
  kernel_context = context;
  block.error = nullptr;
  SharedMemory shared(blocks, shared_bytes);
  const std::unique_ptr<Tags[]> tags(new Tags[kSeesRaces ? blocks : 1]);
  const BlockOrder order(blocks);
  const unsigned sets = fiber_sets(static_cast<unsigned>(threads.size()));
  release(&grid_begins);
  for (std::uint64_t i = 0; i < blocks && !block.error; ++i) {
    const std::uint64_t number = order.at(i);
    block.tags = &tags[kSeesRaces ? number : 0];
    start_block(number, grid, size, shared_bytes ? shared.of(number) : nullptr, shared_bytes, fiber_set(number, sets));
    run_block();
  }
  acquire(&grid_ends);
  if (block.error) std::rethrow_exception(block.error);
}

}  // namespace emulator
