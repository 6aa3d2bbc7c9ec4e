// SPDX-License-Identifier: Apache-2.0
// A case: an operation's arguments and what reference.py makes of them, read from a file that tests/cuda/cases.py has written.
#pragma once

#include <cstdint>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "fimo_fast/tensor_view.h"
#include "runner/memory.h"

namespace fimo::cuda {

inline DType dtype_named(const std::string& name) {
  for (int i = 0; i < kDTypeCount; ++i) {
    if (name == dtype_name(static_cast<DType>(i))) return static_cast<DType>(i);
  }
  throw std::runtime_error("no such dtype: " + name);
}

/// Where tensors without data would lie: their launches are counted, not run.
inline void* const kNowhere = reinterpret_cast<void*>(std::uintptr_t{1} << 40);

/// A tensor in device memory, and its bytes as they were at the start.
struct Tensor {
  bool is_index = false;  // int64
  DType dtype = DType::kFloat32;
  std::vector<std::int64_t> shape, strides;
  std::int64_t lead = 0;  // elements of the storage before the first one
  std::vector<char> bytes;
  std::unique_ptr<DeviceMemory> memory;
  std::vector<double> expected;  // empty: an input
  double tolerance = 0.0;        // absolute

  std::int64_t element() const { return is_index ? 8 : dtype_size(dtype); }
  std::int64_t count() const {
    std::int64_t n = 1;
    for (const std::int64_t size : shape) n *= size;
    return n;
  }
  /// Position in the storage of the i-th element.
  std::int64_t at(std::int64_t i) const {
    std::int64_t position = lead;
    for (std::size_t d = shape.size(); d-- > 0; i /= shape[d]) position += i % shape[d] * strides[d];
    return position;
  }
  void* data() const { return static_cast<char*>(memory ? memory->get() : kNowhere) + lead * element(); }

  ConstMatrixView matrix() const { return {data(), dtype, shape[0], shape[1], strides[0]}; }
  MatrixView output() const { return {data(), dtype, shape[0], shape[1], strides[0]}; }
  MatrixView column() const { return {data(), dtype, shape[0], 1, 1}; }
  ConstTensor3View tensor3() const { return {data(), dtype, shape[0], shape[1], shape[2], strides[0], strides[1]}; }
  ConstIndexView index() const { return {static_cast<const std::int64_t*>(data()), shape[0], shape[1], strides[0]}; }
};

struct Case {
  std::string name, op, kinds;
  std::map<std::string, std::vector<std::int64_t>> numbers;
  std::map<std::string, Tensor> tensors;

  bool without_data() const { return !tensors.empty() && !tensors.begin()->second.memory; }
  std::int64_t number(const std::string& key) const { return numbers.at(key).at(0); }
  bool has(const std::string& key) const { return numbers.count(key) > 0; }
};

/// Reads the next case; false at the end of the file.
inline bool read_case(std::istream& in, Case& result) {
  result = Case();
  std::string line;
  while (std::getline(in, line)) {
    std::istringstream words(line);
    std::string word, key;
    words >> word;
    if (word == "case") {
      words >> result.name >> result.op;
    } else if (word == "kinds") {
      std::getline(words >> std::ws, result.kinds);
    } else if (word == "numbers") {
      words >> key;
      for (std::int64_t n; words >> n;) result.numbers[key].push_back(n);
    } else if (word == "tensor" || word == "shape") {
      Tensor tensor;
      std::string dtype;
      std::size_t dims = 0;
      std::int64_t storage = 0;
      words >> key >> dtype >> dims;
      tensor.is_index = dtype == "int64";
      if (!tensor.is_index) tensor.dtype = dtype_named(dtype);
      tensor.shape.resize(dims);
      tensor.strides.resize(dims);
      for (auto& size : tensor.shape) words >> size;
      for (auto& stride : tensor.strides) words >> stride;
      if (word == "tensor") {
        words >> storage >> tensor.lead;
        tensor.bytes.resize(static_cast<std::size_t>(storage * tensor.element()));
        in.read(tensor.bytes.data(), static_cast<std::streamsize>(tensor.bytes.size()));
        tensor.memory = std::make_unique<DeviceMemory>(tensor.bytes.size());
        tensor.memory->put(tensor.bytes.data());
      }
      result.tensors[key] = std::move(tensor);
    } else if (word == "expect") {
      words >> key;
      Tensor& tensor = result.tensors.at(key);
      words >> tensor.tolerance;
      tensor.expected.resize(static_cast<std::size_t>(tensor.count()));
      in.read(reinterpret_cast<char*>(tensor.expected.data()), static_cast<std::streamsize>(8 * tensor.expected.size()));
    } else if (word == "end") {
      return true;
    } else if (!word.empty()) {
      throw std::runtime_error("cases: unexpected line '" + line + "'");
    }
    if (!in) throw std::runtime_error("cases: the file ends inside a case");
  }
  return false;
}

}  // namespace fimo::cuda
