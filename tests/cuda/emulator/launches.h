// SPDX-License-Identifier: Apache-2.0
// Starting kernels, and the record of those that were started.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "emulator/scheduler.h"
#if defined(FIMO_EMULATE_PTX)
#include "ptx/launch.h"
#endif

namespace emulator {

/// The kernels launched since forget_launched(), with their template arguments: "srht_kernel<float, 8>".
const std::vector<std::string>& launched();
void forget_launched();

/// Of `whole` bytes of the workspace the first `bytes` are a kernel's; the others, kNobodysBytes at least, are nobody's.
#if defined(FIMO_EMULATE_ASAN)
constexpr std::int64_t kNobodysBytes = 256;
void lend(void* memory, std::int64_t bytes, std::int64_t whole);
#else
constexpr std::int64_t kNobodysBytes = 0;
inline void lend(void*, std::int64_t, std::int64_t) {}
#endif

/// The mangled name of a function: programs are linked with -rdynamic.
std::string symbol_of(void* function);

/// Records a launch; with FIMO_EMULATOR_TRACE in the environment it is also printed. True if it is to run: not with
/// FIMO_EMULATOR_DRY.
bool note_launch(const std::string& symbol, dim3 grid, dim3 block, std::size_t shared_bytes);

/// Runs a kernel, all of its blocks, before returning: the function, or with FIMO_EMULATE_PTX what nvcc made of it.
template <class... Parameters>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes, Parameters... arguments) {
  const std::string symbol = symbol_of(reinterpret_cast<void*>(kernel));
  if (!note_launch(symbol, grid, block, shared_bytes)) return;
#if defined(FIMO_EMULATE_PTX)
  const std::vector<ptx::Argument> given{{&arguments, sizeof(arguments)}...};
  ptx::launch(symbol, given, grid, block, shared_bytes);
#else
  auto body = [&] { kernel(arguments...); };
  run_grid(grid, block, shared_bytes, [](void* call) { (*static_cast<decltype(body)*>(call))(); }, &body);
#endif
}

}  // namespace emulator
