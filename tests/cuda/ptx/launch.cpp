// SPDX-License-Identifier: Apache-2.0
#include "ptx/launch.h"

#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>

namespace ptx {
namespace {

std::map<std::string, Kernel>& kernels() {
  static std::map<std::string, Kernel> all;
  return all;
}

constexpr std::size_t kAlignment = 64;

}  // namespace

Registered::Registered(const Kernel& kernel) { kernels().emplace(kernel.name, kernel); }

const Kernel& find(const std::string& name) {
  const auto found = kernels().find(name);
  if (found == kernels().end()) throw emulator::Error("ptx: no kernel " + name);
  return found->second;
}

void launch(const std::string& name, const void* const* arguments, std::size_t count, dim3 grid, dim3 block,
            std::size_t dynamic_bytes) {
  const Kernel& kernel = find(name);
  if (count != kernel.parameters.size()) {
    throw emulator::Error("ptx: " + name + " has " + std::to_string(kernel.parameters.size()) + " parameters, got " +
                          std::to_string(count));
  }
  const unsigned threads = block.x * block.y * block.z;
  if (kernel.threads && threads > kernel.threads) {
    throw emulator::Error("ptx: " + name + " is compiled for blocks of " + std::to_string(kernel.threads) + " threads, got " +
                          std::to_string(threads));
  }
  // As large as asked to the byte, for AddressSanitizer.
  const std::size_t bytes = count ? kernel.parameters.back().offset + kernel.parameters.back().bytes : 0;
  void* memory = nullptr;
  if (posix_memalign(&memory, kAlignment, bytes ? bytes : 1)) throw emulator::Error("ptx: no memory for parameters");
  const std::unique_ptr<unsigned char, void (*)(void*)> parameters(static_cast<unsigned char*>(memory), std::free);
  for (std::size_t i = 0; i < count; ++i) {
    std::memcpy(parameters.get() + kernel.parameters[i].offset, arguments[i], kernel.parameters[i].bytes);
  }
  struct Call {
    const Kernel& kernel;
    const unsigned char* parameters;
  } call{kernel, parameters.get()};
  const auto body = [](void* context) {
    const auto& mine = *static_cast<const Call*>(context);
    mine.kernel.run(mine.parameters);
  };
  emulator::run_grid(grid, block, kernel.shared_bytes + dynamic_bytes, body, &call);
}

}  // namespace ptx
