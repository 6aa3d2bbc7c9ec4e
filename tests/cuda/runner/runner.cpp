// SPDX-License-Identifier: Apache-2.0
// Runs the cases of a file and prints one line of JSON for each. One source for every way to run kernels: the emulator, its
// sanitizer builds, translated PTX, and a GPU (also under compute-sanitizer).
//
// usage: runner FILE [NAME]    NAME: only cases whose name contains it
// For seeded bugs, in the environment: FIMO_RUNNER_STOP ends with the first case that fails, FIMO_RUNNER_SECONDS is how many
// seconds of CPU time (not of the clock: the machine may be busy) a case may take before SIGXCPU ends the process.
#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <limits>
#include <utility>

#include "bindings/sketch_args.h"
#include "cuda/outer/form.h"
#include "cuda/score/products.h"
#include "runner/case.h"

namespace fimo::cuda {
namespace {

/// Calls operation(arguments..., queue) with a workspace of exactly the size that `measured` says.
struct Call {
  std::function<std::int64_t()> workspace;
  std::function<void(const Queue&)> run;
};

Call call_of(Case& c) {
  const auto in = [&](const char* name) -> Tensor& { return c.tensors.at(name); };
  const auto scales = [&]() -> RowScales {
    if (!c.tensors.count("query_scales")) return {};
    return {static_cast<const float*>(in("query_scales").data()), static_cast<const float*>(in("feature_scales").data())};
  };
  const std::int64_t offset = c.has("offset") ? c.number("offset") : 0;
  if (c.op == "project") {
    const auto grads = in("grads").matrix();
    const auto out = in("out").output();
    const Sketch sketch = bindings::SketchArgs(c.kinds, c.numbers["sketch"]).vector();
    return {[=] { return project_workspace(grads, sketch, offset, out); },
            [=](const Queue& queue) { project(grads, sketch, offset, out, queue); }};
  }
  if (c.op == "outer_project") {
    const auto a = in("a").tensor3(), delta = in("delta").tensor3();
    const auto out = in("out").output();
    bindings::SketchArgs args(c.kinds, c.numbers["sketch"]);
    const OuterSketch sketch = args.outer();
    const auto then = args.rest();
    const auto slice = c.has("offset") ? std::optional<std::int64_t>(offset) : std::nullopt;
    return {[=] { return outer_project_workspace(a, delta, sketch, then, slice, out); },
            [=](const Queue& queue) { outer_project(a, delta, sketch, then, slice, out, queue); }};
  }
  if (c.op == "form_gradients") {
    const auto a = in("a").tensor3(), delta = in("delta").tensor3();
    const auto out = in("out").output();
    const Range entries{c.number("begin"), c.number("begin") + out.cols};
    const auto form = [=](Context& context) {
      form_gradients(context, a, delta, {0, a.batch}, entries, static_cast<float*>(out.data), out.row_stride);
    };
    return {[=] { return measure(form); },
            [=](const Queue& queue) {
              Context context(queue);
              form(context);
            }};
  }
  if (c.op == "rows_project") {
    const auto index = in("index").index();
    const auto delta = in("delta").tensor3();
    const auto out = in("out").output();
    const Sketch sketch = bindings::SketchArgs(c.kinds, c.numbers["sketch"]).vector();
    return {[=] { return rows_project_workspace(index, delta, sketch, offset, out); },
            [=](const Queue& queue) { rows_project(index, delta, sketch, offset, out, queue); }};
  }
  if (c.op == "outer_dot") {
    const auto a = in("a").tensor3(), delta = in("delta").tensor3(), a2 = in("a2").tensor3(), delta2 = in("delta2").tensor3();
    const auto out = in("out").output();
    return {[=] { return outer_dot_workspace(a, delta, a2, delta2, out); },
            [=](const Queue& queue) { outer_dot(a, delta, a2, delta2, out, queue); }};
  }
  if (c.op == "outer_norm2") {
    const auto a = in("a").tensor3(), delta = in("delta").tensor3();
    const auto out = in("out").column();
    return {[=] { return outer_norm2_workspace(a, delta, out); },
            [=](const Queue& queue) { outer_norm2(a, delta, out, queue); }};
  }
  const auto queries = in("queries").matrix(), features = in("features").matrix();
  const RowScales by_row = scales();
  if (c.op == "scores") {
    const auto out = in("out").output();
    return {[=] { return scores_workspace(queries, features, out, by_row); },
            [=](const Queue& queue) { scores(queries, features, out, queue, by_row); }};
  }
  if (c.op == "topk") {
    const auto values = in("values").output();
    const std::int64_t k = c.number("k");
    auto* indices = static_cast<std::int64_t*>(in("indices").data());
    return {[=] { return topk_workspace(queries, features, k, values, by_row); },
            [=](const Queue& queue) { topk(queries, features, k, values, indices, queue, by_row); }};
  }
  throw std::runtime_error("no such op: " + c.op);
}

/// FNV-1a, to compare runs bit by bit.
std::uint64_t hash(const std::vector<char>& bytes, std::uint64_t state) {
  for (const char byte : bytes) state = (state ^ static_cast<unsigned char>(byte)) * 0x100000001B3ull;
  return state;
}

struct Outcome {
  std::string problem;  // empty: none
  double error = 0.0;   // largest, in units of the tolerance
  std::uint64_t bits = 0xCBF29CE484222325ull;
};

void compare(const std::string& name, const Tensor& tensor, Outcome& outcome) {
  std::vector<char> after(tensor.bytes.size());
  tensor.memory->copy_to(after.data());
  std::vector<bool> written(after.size() / static_cast<std::size_t>(tensor.element()), false);
  for (std::int64_t i = 0; i < static_cast<std::int64_t>(tensor.expected.size()); ++i) {
    const std::int64_t at = tensor.at(i);
    written[static_cast<std::size_t>(at)] = true;
    const char* bytes = after.data() + at * tensor.element();
    double got = 0.0;
    if (tensor.is_index) {
      std::int64_t value;
      std::memcpy(&value, bytes, 8);
      got = static_cast<double>(value);
    } else {
      float value;
      std::memcpy(&value, bytes, 4);
      got = value;
    }
    const double expected = tensor.expected[static_cast<std::size_t>(i)];
    if (std::isnan(expected) && std::isnan(got)) continue;
    const double error = got == expected ? 0.0 : std::abs(got - expected);
    if (!(error <= tensor.tolerance) && outcome.problem.empty()) {
      outcome.problem = name + "[" + std::to_string(i) + "]: expected " + std::to_string(expected) + " +- " +
                        std::to_string(tensor.tolerance) + ", got " + std::to_string(got);
    }
    if (error > 0.0 && error / tensor.tolerance > outcome.error) outcome.error = error / tensor.tolerance;
  }
  for (std::size_t i = 0; i < after.size(); ++i) {
    const bool mine = !tensor.expected.empty() && written[i / static_cast<std::size_t>(tensor.element())];
    if (!mine && after[i] != tensor.bytes[i] && outcome.problem.empty()) {
      outcome.problem = name + ": byte " + std::to_string(i) + " of the storage, outside the tensor, was written";
    }
  }
  outcome.bits = hash(after, outcome.bits);
}

Outcome run(Case& c) {
  Outcome outcome;
  struct Changed {  // while the case runs
    std::int64_t& value;
    std::int64_t usual;
    Changed(std::int64_t& number, Case& of, const char* name)
        : value(number), usual(std::exchange(number, of.has(name) ? of.number(name) : number)) {}
    ~Changed() { value = usual; }
  };
  const Changed piece(piece_bytes, c, "piece"), planned(multiprocessors, c, "multiprocessors");
  try {
    const Call call = call_of(c);
    if (c.without_data()) {
      // Sizes that fit nowhere: only the launches are of interest.
      if (!std::getenv("FIMO_EMULATOR_DRY")) throw std::runtime_error("tensors without data: expected FIMO_EMULATOR_DRY");
      call.run({0, nullptr, kNowhere, call.workspace()});
      return outcome;
    }
    const std::int64_t size = call.workspace();
    if (c.has("workspace") && size > c.number("workspace")) {
      throw std::runtime_error("workspace: expected at most " + std::to_string(c.number("workspace")) + " bytes, got " +
                               std::to_string(size));
    }
    DeviceMemory workspace(static_cast<std::size_t>(size));
    workspace.poison();
    call.run({0, nullptr, workspace.get(), static_cast<std::int64_t>(workspace.bytes())});
    for (const auto& [name, tensor] : c.tensors) compare(name, tensor, outcome);
  } catch (const std::exception& error) {
    outcome.problem = error.what();
  }
  return outcome;
}

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char letter : text) {
    if (letter == '"' || letter == '\\') result += '\\';
    result += letter == '\n' ? ' ' : letter;
  }
  return result + "\"";
}

/// CPU time of this process so far.
double seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

void limit_seconds(double from_now) {
  rlimit limit{};
  getrlimit(RLIMIT_CPU, &limit);
  limit.rlim_cur = static_cast<rlim_t>(seconds() + from_now) + 1;
  setrlimit(RLIMIT_CPU, &limit);
}

int main(int argc, char** argv) {
  if (argc < 2) throw std::runtime_error("usage: runner FILE [NAME]");
  std::ifstream file(argv[1], std::ios::binary);
  if (!file) throw std::runtime_error(std::string("cannot read ") + argv[1]);
  const char* limit = std::getenv("FIMO_RUNNER_SECONDS");
  int failed = 0;
  for (Case c; read_case(file, c);) {
    if (argc > 2 && c.name.find(argv[2]) == std::string::npos) continue;
    if (limit) limit_seconds(std::atof(limit));
    const double begin = seconds();
    const Outcome outcome = run(c);
    failed += !outcome.problem.empty();
    std::string kernels;
#if defined(FIMO_EMULATE)
    for (const std::string& kernel : emulator::launched()) kernels += (kernels.empty() ? "" : ", ") + quoted(kernel);
    emulator::forget_launched();
#endif
    const double most = std::numeric_limits<double>::max();  // JSON has no infinity
    std::printf("{\"name\": %s, \"problem\": %s, \"error\": %g, \"bits\": \"%016llx\", \"seconds\": %g, \"kernels\": [%s]}\n",
                quoted(c.name).c_str(), outcome.problem.empty() ? "null" : quoted(outcome.problem).c_str(),
                std::min(outcome.error, most), static_cast<unsigned long long>(outcome.bits), seconds() - begin,
                kernels.c_str());
    std::fflush(stdout);
    if (failed && std::getenv("FIMO_RUNNER_STOP")) break;
  }
  return failed ? 1 : 0;
}

}  // namespace
}  // namespace fimo::cuda

int main(int argc, char** argv) {
  try {
    return fimo::cuda::main(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "runner: %s\n", error.what());
    return 2;
  }
}
