// SPDX-License-Identifier: Apache-2.0
#include "check.h"

#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <initializer_list>
#include <map>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace check {
namespace {

char current_case[512] = "before the first case";  // not std::string: a signal handler reads it

void print_case() {
  const char lead[] = "\nin this case: ";
  // Nothing can be done about a failing write while the program ends.
  if (write(2, lead, sizeof lead - 1) < 0 || write(2, current_case, std::strlen(current_case)) < 0 || write(2, "\n", 1) < 0)
    return;
}

/// AddressSanitizer reports invalid accesses itself and then calls print_case; all else ends in a signal.
void announce_case() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_set_death_callback(print_case);
  const std::initializer_list<int> numbers{SIGABRT};
#else
  const std::initializer_list<int> numbers{SIGABRT, SIGSEGV, SIGBUS, SIGILL};
#endif
  for (const int number : numbers) {
    std::signal(number, [](int caught) {
      print_case();
      std::signal(caught, SIG_DFL);
      std::raise(caught);
    });
  }
}

}  // namespace

Counts& counts() {
  static std::map<std::string, Counts> of_isa;
  return of_isa[fimo::current_isa()];
}

void set_case(const std::string& description) {
  static const bool announced = (announce_case(), true);
  (void)announced;
  std::snprintf(current_case, sizeof current_case, "%s", description.c_str());
}

void expect(bool condition, const char* what) {
  Counts& counted = counts();
  ++counted.checks;
  if (condition) return;
  // The first ones say enough; a broken kernel fails thousands.
  if (++counted.failures <= 20) std::printf("failed: %s: %s: %s\n", fimo::current_isa().c_str(), what, current_case);
}

}  // namespace check
