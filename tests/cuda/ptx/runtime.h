// SPDX-License-Identifier: Apache-2.0
// What translated PTX is written in. Compiled with -fwrapv (integers wrap) and without -ffast-math and contraction.
#pragma once

#include "emulator/emulator.h"
#include "ptx/arithmetic.h"
#include "ptx/convert.h"
#include "ptx/launch.h"
#include "ptx/memory.h"
#include "ptx/ranges.h"
#include "ptx/warp.h"

namespace ptx {

using emulator::current;

}  // namespace ptx
