// SPDX-License-Identifier: Apache-2.0
// Launches of translated kernels for Python's ctypes (programs.py).
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <vector>

#include "ptx/launch.h"
#include "ptx/ranges.h"

extern "C" {

struct Shape {
  unsigned grid[3], block[3];
  std::size_t shared_bytes;
};

/// Runs kernel `name`, which may touch the arrays, in the schedule "fifo", "lifo" or "random". Empty, or what went wrong.
const char* launch(const char* name, const Shape* shape, std::size_t count, const ptx::Argument* arguments,
                   std::size_t array_count, const ptx::Argument* arrays, const char* schedule) {
  static std::string message;
  message.clear();
  using emulator::Schedule;
  emulator::options.schedule = !std::strcmp(schedule, "lifo")   ? Schedule::lifo
                               : !std::strcmp(schedule, "fifo") ? Schedule::fifo
                                                                : Schedule::random;
  try {
    std::vector<std::unique_ptr<ptx::Range>> ranges;
    for (std::size_t i = 0; i < array_count; ++i) {
      ranges.push_back(std::make_unique<ptx::Range>(arrays[i].value, arrays[i].bytes));
    }
    const unsigned *g = shape->grid, *b = shape->block;
    ptx::launch(name, {arguments, arguments + count}, dim3(g[0], g[1], g[2]), dim3(b[0], b[1], b[2]), shape->shared_bytes);
  } catch (const std::exception& error) {
    message = error.what();
  }
  return message.c_str();
}

}  // extern "C"
