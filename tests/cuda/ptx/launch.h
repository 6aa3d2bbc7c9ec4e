// SPDX-License-Identifier: Apache-2.0
// Translated kernels by name, and their launches.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "emulator/scheduler.h"

namespace ptx {

struct Parameter {
  std::size_t offset, bytes;
};

struct Kernel {
  const char* name;
  void (*run)(const unsigned char* parameters);
  std::vector<Parameter> parameters;
  std::size_t shared_bytes;  // of fixed size, in front of what a launch adds
  unsigned threads;          // the most that a block may have; 0: any number
};

/// Makes a kernel known while the program starts. Of the same one in several modules (of an inline template) the first counts.
struct Registered {
  explicit Registered(const Kernel& kernel);
};

struct Argument {
  const void* value;
  std::size_t bytes;
};

/// Runs a kernel, all of its blocks, before returning.
void launch(const std::string& name, const std::vector<Argument>& arguments, dim3 grid, dim3 block, std::size_t dynamic_bytes);

}  // namespace ptx
