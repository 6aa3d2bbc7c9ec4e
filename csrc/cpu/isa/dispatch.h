// SPDX-License-Identifier: Apache-2.0
/// \file
/// The choice of the instruction set, made in one place and once.
#pragma once

#include "cpu/kernels/kernels.h"

namespace fimo {

/// The table in use; the first call chooses it (see current_isa in build_info.h).
const Kernels& kernels();

}  // namespace fimo
