// SPDX-License-Identifier: Apache-2.0
// Small kernels, each with a fault that the emulator must see, and the same kernel without it. tests/cuda/test_emulator.py says
// which way of running must see which.
//
// usage: self_test [broken|healthy [NAME]]    prints "right", "wrong" or "error: ..." for each, or the names; sanitizers end it
#include <cstdio>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "cuda/device/context.h"
#include "emulator/self_test_kernels.h"
#include "runner/memory.h"

namespace fimo::cuda::self_test {
namespace {

// --- Running them ------------------------------------------------------------------------------------------------------------

/// An array on the device with what a kernel should make of it.
template <class T>
struct Array {
  explicit Array(std::vector<T> values) : memory(values.size() * sizeof(T)) { memory.put(values.data()); }
  T* data() { return static_cast<T*>(memory.get()); }
  bool holds(const std::vector<T>& expected) const {
    std::vector<T> values(expected.size());
    memory.copy_to(values.data());
    return values == expected;
  }
  DeviceMemory memory;
};

constexpr int kBlocks = 6, kCount = kBlocks * kThreads;

template <class T>
std::vector<T> numbers(int count, const std::function<int(int)>& value) {
  std::vector<T> result;
  for (int i = 0; i < count; ++i) result.push_back(static_cast<T>(value(i)));
  return result;
}

int same(int i) { return i; }

/// Runs kernel(in, out) on 0, 1, 2, ... and compares.
bool run(void (*kernel)(const float*, float*), unsigned blocks, unsigned threads, int count,
         const std::function<int(int)>& expected, std::size_t shared_bytes = sizeof(Exchange)) {
  Array<float> in(numbers<float>(count, same)), out(numbers<float>(count, [](int) { return -1; }));
  emulator::launch(kernel, dim3(blocks), dim3(threads), shared_bytes, static_cast<const float*>(in.data()), out.data());
  return out.holds(numbers<float>(count, expected));
}

int reversed(int i) { return i / kThreads * kThreads + kThreads - 1 - i % kThreads; }

template <bool kShared, bool kGlobal>
bool run_count() {
  Array<int> in(numbers<int>(kCount, same)), out({0, 0});
  emulator::launch(count<kShared, kGlobal>, dim3(2, kBlocks / 2), dim3(kThreads), sizeof(Exchange),
                   static_cast<const int*>(in.data()), out.data());
  std::vector<int> sums(2, 0);
  for (int i = 0; i < kCount; ++i) sums[i / kThreads % 2] += i;
  return out.holds(sums);
}

template <bool kFence>
bool run_last() {
  Array<float> in({1, 2, 3, 4, 5, 6}), parts({0, 0, 0, 0, 0, 0}), out({0});
  Array<unsigned> ticket({0});
  emulator::launch(last_adds_up<kFence>, dim3(kBlocks), dim3(kThreads), 0, static_cast<const float*>(in.data()), parts.data(),
                   ticket.data(), out.data());
  return out.holds({21});
}

template <int kFault>
bool run_copies() {
  Array<float> in(numbers<float>(kCount, same)), out(numbers<float>(kCount, same));
  emulator::launch(copies<kFault>, dim3(1), dim3(kThreads), 2 * sizeof(Exchange), static_cast<const float*>(in.data()),
                   out.data(), kBlocks);
  return out.holds(numbers<float>(kCount, reversed));
}

/// Through a part of the workspace beside another one.
template <bool kInside>
bool run_workspace() {
  Array<float> in(numbers<float>(kThreads, same)), out(numbers<float>(kThreads, [](int) { return -1; }));
  const auto operation = [&](Context& context) {
    float* parts = context.take<float>(kThreads);
    context.take<float>(kThreads);
    context.launch(through_workspace<kInside>, {1, kThreads}, static_cast<const float*>(in.data()), parts, out.data());
  };
  DeviceMemory workspace(static_cast<std::size_t>(measure(operation)));
  const Queue queue{0, nullptr, workspace.get(), static_cast<std::int64_t>(workspace.bytes())};
  Context context(queue);
  operation(context);
  return out.holds(numbers<float>(kThreads, same));
}

bool run_shape(dim3 grid, dim3 block, std::size_t shared_bytes) {
  emulator::launch(nothing, grid, block, shared_bytes);
  return true;
}

using Test = std::function<bool()>;
struct Twins {
  Test broken, healthy;
};

std::map<std::string, Twins> tests() {
  const Test reverses = [] { return run(reverse<true, true>, kBlocks, kThreads, kCount, reversed); };
  const Test exchanges = [] { return run(divergent<0>, kBlocks, kThreads, kCount, [](int i) { return i ^ 1; }); };
  const Test copying = run_copies<0>;
  std::map<std::string, Twins> all;
  all["barrier before reading"] = {[] { return run(reverse<false, true>, kBlocks, kThreads, kCount, reversed); }, reverses};
  all["barrier before writing again"] = {[] { return run(reverse<true, false>, kBlocks, kThreads, kCount, reversed); },
                                         reverses};
  const auto warps = [](int i) { return i ^ 31; };
  all["barrier of a warp"] = {[=] { return run(reverse_warps<false>, kBlocks, kThreads, kCount, warps); },
                              [=] { return run(reverse_warps<true>, kBlocks, kThreads, kCount, warps); }};
  all["shared memory not filled"] = {[] { return run(partly_filled<false>, kBlocks, kThreads, kCount, reversed); },
                                     [] { return run(partly_filled<true>, kBlocks, kThreads, kCount, reversed); }};
  all["race in shared memory"] = {run_count<false, true>, run_count<true, true>};
  all["race between blocks"] = {run_count<true, false>, run_count<true, true>};
  all["fence"] = {run_last<false>, run_last<true>};
  all["one element too many"] = {[] { return run(one_too_many<false>, 2, kThreads, kShort, same); },
                                 [] { return run(one_too_many<true>, 2, kThreads, kShort, same); }};
  const auto swapped = [](int i) { return i ^ 1; };
  all["behind shared memory"] = {[=] { return run(behind_shared<false>, kBlocks, kThreads, kCount, swapped); },
                                 [=] { return run(behind_shared<true>, kBlocks, kThreads, kCount, swapped); }};
  all["behind a part of the workspace"] = {run_workspace<false>, run_workspace<true>};
  all["divergent barrier"] = {[] { return run(divergent<1>, kBlocks, kThreads, kCount, same); }, exchanges};
  all["collective of one lane"] = {[] { return run(divergent<2>, kBlocks, kThreads, kCount, same); }, exchanges};
  all["wrong mask"] = {[] { return run(divergent<3>, kBlocks, kThreads, kCount, same); }, exchanges};
  all["copy without a wait"] = {run_copies<1>, copying};
  all["wait for too few copies"] = {run_copies<2>, copying};
  all["wait without a barrier"] = {run_copies<3>, copying};
  all["copy into what is read"] = {run_copies<4>, copying};
  all["copy left under way"] = {run_copies<5>, copying};
  all["misaligned vector"] = {[] { return run(vectors<false>, 1, kThreads / 4 - 1, kThreads - 4, same); },
                              [] { return run(vectors<true>, 1, kThreads / 4, kThreads, same); }};
  all["misaligned copy"] = {[] { return run(copied_vectors<false>, 1, kThreads / 4 - 1, kThreads, same); },
                            [] { return run(copied_vectors<true>, 1, kThreads / 4, kThreads, same); }};
  all["shared struct too small"] = {[] { return run(reverse<true, true>, kBlocks, kThreads, kCount, reversed, 4); }, reverses};
  all["threads"] = {[] { return run_shape(1, 1025, 0); }, [] { return run_shape(1, 1024, 0); }};
  all["grid"] = {[] { return run_shape(dim3(1, 65536), 1, 0); }, [] { return run_shape(dim3(65537, 2), 1, 0); }};
  all["shared memory of sm_80"] = {[] { return run_shape(1, 1, 163 * 1024 + 1); }, [] { return run_shape(1, 1, 163 * 1024); }};
  return all;
}

}  // namespace
}  // namespace fimo::cuda::self_test

int main(int argc, char** argv) {
  const std::string twin = argc > 1 ? argv[1] : "", only = argc > 2 ? argv[2] : "";
  for (const auto& [name, twins] : fimo::cuda::self_test::tests()) {
    if (!only.empty() && name != only) continue;
    if (twin.empty()) {
      std::printf("%s\n", name.c_str());
      continue;
    }
    try {
      std::printf("%s\n", (twin == "broken" ? twins.broken() : twins.healthy()) ? "right" : "wrong");
    } catch (const std::exception& error) {
      std::printf("error: %s\n", error.what());
    }
  }
  return 0;
}
