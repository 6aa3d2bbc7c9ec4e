// SPDX-License-Identifier: Apache-2.0
#include "emulator/fibers.h"

#include <sys/mman.h>

#include <stdexcept>
#include <vector>

#include "emulator/sanitizers.h"

#if !defined(__x86_64__)
#error "the switch of stacks is written for x86-64 only"
#endif

// switch_stack(where to leave the old stack pointer, the new one): saves what a called function must preserve.
extern "C" void fimo_emulator_switch(void** save, void* load);
asm(R"(
.text
.globl fimo_emulator_switch
.type fimo_emulator_switch,@function
fimo_emulator_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp,(%rdi)
    movq %rsi,%rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size fimo_emulator_switch,.-fimo_emulator_switch
)");

namespace emulator {
namespace {

constexpr std::size_t kStackBytes = 128 << 10;
constexpr std::size_t kGuardBytes = 4096;
constexpr int kSavedRegisters = 6;

/// Kept for the next block and kernel; null until it is needed.
struct Kept {
  char* stack = nullptr;
  void* tsan = nullptr;
};
std::vector<Kept> kept;
void* scheduler_stack_pointer = nullptr;
[[maybe_unused]] void* scheduler_tsan = nullptr;
[[maybe_unused]] void* scheduler_fake_stack = nullptr;
[[maybe_unused]] const void* scheduler_stack = nullptr;
[[maybe_unused]] std::size_t scheduler_stack_bytes = 0;

char* new_stack() {
  void* memory = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::runtime_error("emulator: no memory for stacks");
  mprotect(memory, kGuardBytes, PROT_NONE);  // a stack that is too deep stops here
  return static_cast<char*>(memory);
}

}  // namespace

void prepare_fibers() {
#if defined(FIMO_EMULATE_TSAN)
  scheduler_tsan = __tsan_get_current_fiber();
#endif
#if defined(FIMO_EMULATE_ASAN)
  for (const Kept& one : kept) {
    if (one.stack) __asan_unpoison_memory_region(one.stack + kGuardBytes, kStackBytes - kGuardBytes);
  }
#endif
}

Fiber new_fiber(unsigned index, void (*entry)()) {
  if (kept.size() <= index) kept.resize(index + 1);
  Kept& mine = kept[index];
  if (!mine.stack) {
    mine.stack = new_stack();
#if defined(FIMO_EMULATE_TSAN)
    mine.tsan = __tsan_create_fiber(0);
#endif
  }
  Fiber fiber;
  fiber.stack = mine.stack;
  fiber.tsan = mine.tsan;
  // As if entry() had been called from nowhere, with a stack aligned as the ABI asks, and had switched away at once.
  void** top = reinterpret_cast<void**>(fiber.stack + kStackBytes);
  *--top = nullptr;
  *--top = reinterpret_cast<void*>(entry);
  for (int i = 0; i < kSavedRegisters; ++i) *--top = nullptr;
  fiber.stack_pointer = top;
  return fiber;
}

void enter(Fiber& fiber) {
#if defined(FIMO_EMULATE_TSAN)
  __tsan_switch_to_fiber(fiber.tsan, __tsan_switch_to_fiber_no_sync);
#endif
#if defined(FIMO_EMULATE_ASAN)
  __sanitizer_start_switch_fiber(&scheduler_fake_stack, fiber.stack, kStackBytes);
#endif
  fimo_emulator_switch(&scheduler_stack_pointer, fiber.stack_pointer);
#if defined(FIMO_EMULATE_ASAN)
  __sanitizer_finish_switch_fiber(scheduler_fake_stack, nullptr, nullptr);
#endif
}

void leave(Fiber& fiber, [[maybe_unused]] bool last) {
#if defined(FIMO_EMULATE_TSAN)
  __tsan_switch_to_fiber(scheduler_tsan, __tsan_switch_to_fiber_no_sync);
#endif
#if defined(FIMO_EMULATE_ASAN)
  __sanitizer_start_switch_fiber(last ? nullptr : &fiber.fake_stack, scheduler_stack, scheduler_stack_bytes);
#endif
  fimo_emulator_switch(&fiber.stack_pointer, scheduler_stack_pointer);
#if defined(FIMO_EMULATE_ASAN)
  __sanitizer_finish_switch_fiber(fiber.fake_stack, &scheduler_stack, &scheduler_stack_bytes);
#endif
}

void release_of([[maybe_unused]] const Fiber& fiber, [[maybe_unused]] void* tag) {
#if defined(FIMO_EMULATE_TSAN)
  __tsan_switch_to_fiber(fiber.tsan, __tsan_switch_to_fiber_no_sync);
  release(tag);
  __tsan_switch_to_fiber(scheduler_tsan, __tsan_switch_to_fiber_no_sync);
#endif
}

void fiber_started() {
#if defined(FIMO_EMULATE_ASAN)
  __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack, &scheduler_stack_bytes);
#endif
}

}  // namespace emulator
