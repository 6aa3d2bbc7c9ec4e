// SPDX-License-Identifier: Apache-2.0
// The Python functions for CUDA memory over the emulator, which takes CPU memory for a GPU's.
#include "bindings/cuda.h"

PYBIND11_MODULE(_emulated, m) { fimo::bindings::bind_cuda(m); }
