// SPDX-License-Identifier: Apache-2.0
// The kernels for neon. Its compiler flags are in cmake/FimoIsa.cmake.
#define FIMO_ISA neon
#include "cpu/isa/simd_neon.h"

// After the wrapper, on which its templates build.
#include "cpu/isa/isa_kernels.h"
