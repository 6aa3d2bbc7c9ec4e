// SPDX-License-Identifier: Apache-2.0
// The kernels for avx2. Its compiler flags are in cmake/FimoIsa.cmake.
#define FIMO_ISA avx2
#include "cpu/isa/simd_avx2.h"

// After the wrapper, on which its templates build.
#include "cpu/isa/isa_kernels.h"
