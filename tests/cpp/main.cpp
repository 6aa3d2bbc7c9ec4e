// SPDX-License-Identifier: Apache-2.0
// Runs all tests, or those named, and says how many checks each instruction set has passed. The exit status is 0 only if all
// did.
#include <cinttypes>
#include <cstdio>
#include <cstring>

#include "check.h"
#include "tests.h"

int main(int argc, char** argv) {
  const struct {
    const char* name;
    void (*run)();
  } tests[] = {{"project", check::test_project},
               {"outer", check::test_outer},
               {"outer_project", check::test_outer_project},
               {"rows_project", check::test_rows_project},
               {"scores", check::test_scores}};
  for (const auto& test : tests) {
    bool wanted = argc == 1;
    for (int i = 1; i < argc; ++i) wanted = wanted || std::strcmp(argv[i], test.name) == 0;
    if (wanted) test.run();
  }
  std::int64_t failures = 0, fewest = INT64_MAX;
  for (const std::string& isa : fimo::available_isas()) {
    fimo::set_isa(isa);
    const check::Counts& counts = check::counts();
    std::printf("%s: %" PRId64 " checks, %" PRId64 " failures\n", isa.c_str(), counts.checks, counts.failures);
    failures += counts.failures;
    fewest = counts.checks < fewest ? counts.checks : fewest;
  }
  return failures == 0 && fewest > 0 ? 0 : 1;
}
