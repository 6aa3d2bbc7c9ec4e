// SPDX-License-Identifier: Apache-2.0
/// \file
/// What this library was built with, which instruction set it runs, and how to choose another.
#pragma once

#include <string>
#include <vector>

namespace fimo {

struct CudaDevice {
  std::string name;
  int major;  // compute capability
  int minor;
};

struct BuildInfo {
  std::string version;
  std::string compiler;
  bool openmp;
  bool cuda;                       // CUDA files were compiled
  std::string cuda_runtime;        // "13.0"; empty without CUDA
  std::string cuda_architectures;  // as CMake was given them
  std::vector<CudaDevice> cuda_devices;
};

/// Counting devices is the only thing that touches the CUDA driver; a machine without one has no devices.
BuildInfo build_info();

/// Names of the instruction sets compiled in and runnable on this machine, from the plainest to the preferred one.
std::vector<std::string> available_isas();

/// The one in use: the value of the environment variable FIMO_FAST_ISA if set, otherwise the last of available_isas().
/// Throws std::invalid_argument if FIMO_FAST_ISA names one that is unknown or that cannot run here.
std::string current_isa();

/// Switches to another instruction set. For tests; calls running at that moment finish with the one they began with.
/// Throws std::invalid_argument as current_isa does.
void set_isa(const std::string& name);

}  // namespace fimo
