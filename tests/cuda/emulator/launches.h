// SPDX-License-Identifier: Apache-2.0
// Starting kernels, and the record of those that were started.
#pragma once

#include <string>
#include <vector>

#include "emulator/scheduler.h"

namespace emulator {

/// The kernels launched since forget_launched(), with their template arguments: "srht_kernel<float, 8>".
const std::vector<std::string>& launched();
void forget_launched();

/// Records a launch; with FIMO_EMULATOR_TRACE in the environment it is also printed. True if it is to run: not with
/// FIMO_EMULATOR_DRY.
bool note_launch(void* kernel, dim3 grid, dim3 block, std::size_t shared_bytes);

/// Runs a kernel, all of its blocks, before returning.
template <class... Parameters>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes, Parameters... arguments) {
  if (!note_launch(reinterpret_cast<void*>(kernel), grid, block, shared_bytes)) return;
  auto body = [&] { kernel(arguments...); };
  run_grid(grid, block, shared_bytes, [](void* call) { (*static_cast<decltype(body)*>(call))(); }, &body);
}

}  // namespace emulator
