// SPDX-License-Identifier: Apache-2.0
// The kernels for scalar. Its compiler flags are in cmake/FimoIsa.cmake.
#define FIMO_ISA scalar
#include "cpu/isa/simd_scalar.h"

// After the wrapper, on which its templates build.
#include "cpu/isa/isa_kernels.h"
