// SPDX-License-Identifier: Apache-2.0
#include "cpu/isa/dispatch.h"

#include <atomic>
#include <cstdlib>
#include <stdexcept>

#include "fimo_fast/build_info.h"
#include "isa_list.h"  // FIMO_FOR_EACH_ISA(X), written by CMake from cmake/FimoIsa.cmake: X(scalar) X(avx2) ...

namespace fimo {

#define FIMO_DECLARE(isa)        \
  namespace isa {                \
  extern const Kernels kKernels; \
  }
FIMO_FOR_EACH_ISA(FIMO_DECLARE)
#undef FIMO_DECLARE

namespace {

// What the CPU (and the operating system, for the wide registers) must offer, by instruction set.
bool cpu_runs_scalar() { return true; }
#if defined(__x86_64__)
bool cpu_runs_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}
bool cpu_runs_avx512() {
  return cpu_runs_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
bool cpu_runs_avx512vnni() { return cpu_runs_avx512() && __builtin_cpu_supports("avx512vnni"); }
#elif defined(__aarch64__)
bool cpu_runs_neon() { return true; }  // part of the architecture
#endif

struct Candidate {
  const Kernels* kernels;
  bool (*runs)();
};

const Candidate kCandidates[] = {
#define FIMO_CANDIDATE(isa) {&isa::kKernels, cpu_runs_##isa},
    FIMO_FOR_EACH_ISA(FIMO_CANDIDATE)
#undef FIMO_CANDIDATE
};

const char* const kKnownNames[] = {"scalar", "avx2", "avx512", "avx512vnni", "neon"};

const Kernels* find(const std::string& name, const std::string& asked_by) {
  for (const Candidate& candidate : kCandidates) {
    if (name == candidate.kernels->name && candidate.runs()) return candidate.kernels;
  }
  std::string available, problem = "unknown";
  for (const std::string& isa : available_isas()) available += (available.empty() ? "" : ", ") + isa;
  for (const char* known : kKnownNames) {
    if (name == known) problem = "not available on this machine";
  }
  throw std::invalid_argument(asked_by + ": expected one of " + available + "; got '" + name + "', which is " + problem);
}

const Kernels* choose() {
  const char* forced = std::getenv("FIMO_FAST_ISA");
  if (forced && *forced) return find(forced, "environment variable FIMO_FAST_ISA");
  const Kernels* best = nullptr;
  for (const Candidate& candidate : kCandidates) {
    if (candidate.runs()) best = candidate.kernels;
  }
  return best;
}

std::atomic<const Kernels*> chosen{nullptr};

}  // namespace

const Kernels& kernels() {
  const Kernels* table = chosen.load(std::memory_order_acquire);
  if (!table) {
    const Kernels* choice = choose();
    // Another thread may have chosen, or a test forced one, in between: that one stays.
    if (chosen.compare_exchange_strong(table, choice, std::memory_order_acq_rel)) table = choice;
  }
  return *table;
}

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const Candidate& candidate : kCandidates) {
    if (candidate.runs()) names.emplace_back(candidate.kernels->name);
  }
  return names;
}

std::string current_isa() { return kernels().name; }

void set_isa(const std::string& name) { chosen.store(find(name, "isa"), std::memory_order_release); }

}  // namespace fimo
