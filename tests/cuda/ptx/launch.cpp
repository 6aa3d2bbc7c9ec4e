// SPDX-License-Identifier: Apache-2.0
#include "ptx/launch.h"

#include <cstring>
#include <map>

namespace ptx {
namespace {

std::map<std::string, Kernel>& kernels() {
  static std::map<std::string, Kernel> all;
  return all;
}

/// As aligned as any parameter asks for.
struct alignas(64) Chunk {
  unsigned char bytes[64];
};

}  // namespace

Registered::Registered(const Kernel& kernel) { kernels().emplace(kernel.name, kernel); }

void launch(const std::string& name, const std::vector<Argument>& arguments, dim3 grid, dim3 block, std::size_t dynamic_bytes) {
  const auto found = kernels().find(name);
  if (found == kernels().end()) throw emulator::Error("ptx: no kernel " + name);
  const Kernel& kernel = found->second;
  const unsigned threads = block.x * block.y * block.z;
  if (kernel.threads && threads > kernel.threads) {
    throw emulator::Error("ptx: " + name + " is compiled for blocks of " + std::to_string(kernel.threads) + " threads, got " +
                          std::to_string(threads));
  }
  bool fit = arguments.size() == kernel.parameters.size();
  for (std::size_t i = 0; fit && i < arguments.size(); ++i) fit = arguments[i].bytes == kernel.parameters[i].bytes;
  if (!fit) throw emulator::Error("ptx: " + name + " has parameters of other sizes than the arguments");

  const std::size_t bytes = arguments.empty() ? 0 : kernel.parameters.back().offset + kernel.parameters.back().bytes;
  std::vector<Chunk> memory(bytes / sizeof(Chunk) + 1);
  unsigned char* parameters = memory.front().bytes;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    std::memcpy(parameters + kernel.parameters[i].offset, arguments[i].value, arguments[i].bytes);
  }
  struct Call {
    void (*run)(const unsigned char*);
    const unsigned char* parameters;
  } call{kernel.run, parameters};
  const auto body = [](void* context) {
    const auto& mine = *static_cast<const Call*>(context);
    mine.run(mine.parameters);
  };
  emulator::run_grid(grid, block, kernel.shared_bytes + dynamic_bytes, body, &call);
}

}  // namespace ptx
