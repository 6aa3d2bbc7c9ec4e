// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <pybind11/pybind11.h>

namespace fimo::bindings {

/// Adds the functions for CUDA memory, `cuda_<op>`. Present in builds with CUDA.
void bind_cuda(pybind11::module_& m);

}  // namespace fimo::bindings
