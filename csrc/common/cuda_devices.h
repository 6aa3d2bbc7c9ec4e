// SPDX-License-Identifier: Apache-2.0
/// \file
/// The CUDA devices of this machine. Implemented in cuda/device/device.cu, which only builds with CUDA have.
#pragma once

#include <string>
#include <vector>

#include "fimo_fast/build_info.h"

namespace fimo::cuda {

/// Version of the CUDA runtime linked in, as "13.0".
std::string runtime_version();

/// Empty where there is no driver, a driver too old, or no device. Throws std::runtime_error on any other CUDA error.
std::vector<CudaDevice> devices();

}  // namespace fimo::cuda
