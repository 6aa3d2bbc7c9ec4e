// SPDX-License-Identifier: Apache-2.0
#include "fimo_fast/build_info.h"

#include "common/cuda_devices.h"

namespace fimo {

BuildInfo build_info() {
  BuildInfo info;
  info.version = FIMO_VERSION;
#if defined(__clang__)
  info.compiler = "clang " __clang_version__;
#elif defined(__GNUC__)
  info.compiler = "gcc " __VERSION__;
#endif
#if defined(_OPENMP)
  info.openmp = true;
#else
  info.openmp = false;
#endif
#if defined(FIMO_HAS_CUDA)
  info.cuda = true;
  info.cuda_architectures = FIMO_CUDA_ARCHITECTURES;
  info.cuda_runtime = cuda::runtime_version();
  info.cuda_devices = cuda::devices();
#else
  info.cuda = false;
#endif
  return info;
}

}  // namespace fimo
