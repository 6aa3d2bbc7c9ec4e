// SPDX-License-Identifier: Apache-2.0
/// \file
/// The C++ tests, one for each operation: against its definition in plain loops, on every instruction set.
#pragma once

namespace check {

void test_project();
void test_outer();
void test_outer_project();
void test_rows_project();
void test_scores();

}  // namespace check
