// SPDX-License-Identifier: Apache-2.0
#include "emulator/launches.h"

#include "emulator/sanitizers.h"

#include <cxxabi.h>
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>

namespace emulator {
namespace {

std::vector<std::string> names;

/// "void fimo::cuda::srht_kernel<float, 8>(float const*, ...)" without what every kernel has.
std::string short_name(const std::string& symbol) {
  int status = 0;
  char* text = abi::__cxa_demangle(symbol.c_str(), nullptr, nullptr, &status);
  std::string name = text ? text : symbol;
  std::free(text);
  const std::string space = "fimo::cuda::";
  if (const std::size_t begin = name.find(space); begin != std::string::npos) name = name.substr(begin + space.size());
  // Parameters begin at the first parenthesis outside the template's arguments: those may hold casts, "(Kind)1".
  int depth = 0;
  for (std::size_t i = 0; i < name.size(); ++i) {
    depth += (name[i] == '<') - (name[i] == '>');
    if (name[i] == '(' && depth == 0) return name.substr(0, i);
  }
  return name;
}

}  // namespace

#if defined(FIMO_EMULATE_ASAN)
void lend(void* memory, std::int64_t bytes, std::int64_t whole) {
  __asan_unpoison_memory_region(memory, static_cast<std::size_t>(bytes));
  __asan_poison_memory_region(static_cast<char*>(memory) + bytes, static_cast<std::size_t>(whole - bytes));
}
#endif

const std::vector<std::string>& launched() { return names; }
void forget_launched() { names.clear(); }

std::string symbol_of(void* function) {
  Dl_info info;
  return dladdr(function, &info) && info.dli_sname ? info.dli_sname : "?";
}

bool note_launch(const std::string& symbol, dim3 grid, dim3 block, std::size_t shared_bytes) {
  names.push_back(short_name(symbol));
  static const bool trace = std::getenv("FIMO_EMULATOR_TRACE"), dry = std::getenv("FIMO_EMULATOR_DRY");
  if (trace) {
    std::fprintf(stderr, "%s grid (%u, %u, %u) block (%u, %u, %u) shared %zu\n", names.back().c_str(), grid.x, grid.y, grid.z,
                 block.x, block.y, block.z, shared_bytes);
  }
  return !dry;
}

}  // namespace emulator
