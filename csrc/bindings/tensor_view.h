// SPDX-License-Identifier: Apache-2.0
/// \file
/// From a Python array to the views of fimo_fast/tensor_view.h, with every check that makes it safe: DLPack's exchange table
/// for torch, the buffer protocol for NumPy, a DLPack capsule for the rest.
///
/// Rules: memory of the device that runs; a null pointer with elements behind it (fake tensors) is refused; the innermost
/// stride must be one; errors of the framework (sparse, meta, vmap wrappers) pass through; outputs must be writable. Every
/// message begins with the argument's name. A borrowed view is valid while the Python object is, which the caller's arguments
/// guarantee.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>

#include "bindings/dlpack_abi.h"
#include "fimo_fast/tensor_view.h"

namespace fimo::bindings {

namespace py = pybind11;

/// A DLPack view of `object`, borrowed or owned. Not movable: keep it on the stack of the call.
class Borrowed {
 public:
  Borrowed(py::handle object, const char* name) : name_(name) {
    if (!from_buffer(object) && !from_exchange_api(object)) from_capsule(object);  // the cheapest question first
  }
  ~Borrowed() {
    if (buffer_.obj) PyBuffer_Release(&buffer_);
    if (legacy_ && legacy_->deleter) legacy_->deleter(legacy_);
    if (versioned_ && versioned_->deleter) versioned_->deleter(versioned_);
  }
  Borrowed(const Borrowed&) = delete;
  Borrowed& operator=(const Borrowed&) = delete;

  const dlpack::Tensor& tensor() const { return tensor_; }
  bool read_only() const { return read_only_; }

 private:
  bool from_exchange_api(py::handle object) {
    // Looked up on the type, as the protocol says: an instance attribute would describe another object.
    PyObject* capsule = PyObject_GetAttrString(reinterpret_cast<PyObject*>(Py_TYPE(object.ptr())), "__dlpack_c_exchange_api__");
    if (!capsule) {
      PyErr_Clear();
      return false;
    }
    const py::object owner = py::reinterpret_steal<py::object>(capsule);
    if (!PyCapsule_IsValid(capsule, "dlpack_exchange_api")) return false;
    const auto* api = static_cast<const dlpack::ExchangeApi*>(PyCapsule_GetPointer(capsule, "dlpack_exchange_api"));
    if (api->version.major != dlpack::kMajorVersion || !api->tensor_from_py_object) return false;
    if (api->tensor_from_py_object(object.ptr(), &tensor_) != 0) throw py::error_already_set();
    return true;
  }

  /// NumPy arrays, in a tenth of the time that their capsules take. False for what only __dlpack__ can describe or refuse.
  bool from_buffer(py::handle object) {
    if (!PyObject_CheckBuffer(object.ptr())) return false;
    if (PyObject_GetBuffer(object.ptr(), &buffer_, PyBUF_RECORDS_RO) != 0) {
      PyErr_Clear();
      return false;
    }
    const char format = buffer_.format && buffer_.format[0] && !buffer_.format[1] ? buffer_.format[0] : '?';
    const bool real = format == 'e' || format == 'f' || format == 'd';
    const bool integer = format == 'b' || format == 'i' || format == 'l' || format == 'q';
    bool usable = (real || integer) && buffer_.ndim >= 1 && buffer_.ndim <= kMaxBufferDims;
    for (int d = 0; usable && d < buffer_.ndim; ++d) {
      usable = buffer_.strides[d] % buffer_.itemsize == 0;
      buffer_shape_[d] = buffer_.shape[d];
      buffer_strides_[d] = buffer_.strides[d] / buffer_.itemsize;
    }
    if (!usable) {
      PyBuffer_Release(&buffer_);  // leaves buffer_.obj null
      return false;
    }
    const dlpack::DataType type{real ? dlpack::kFloat : dlpack::kInt, static_cast<std::uint8_t>(8 * buffer_.itemsize), 1};
    tensor_ = {buffer_.buf, {dlpack::kCpu, 0}, buffer_.ndim, type, buffer_shape_, buffer_strides_, 0};
    read_only_ = buffer_.readonly != 0;
    return true;
  }

  void from_capsule(py::handle object) {
    if (!py::hasattr(object, "__dlpack__")) {
      throw py::type_error(name_ + ": expected a torch tensor, a NumPy array or another DLPack array, got " +
                           std::string(Py_TYPE(object.ptr())->tp_name));
    }
    const py::object method = object.attr("__dlpack__");
    py::object capsule;
    try {
      capsule = method(py::arg("max_version") = py::make_tuple(dlpack::kMajorVersion, 0));
    } catch (py::error_already_set& error) {
      if (!error.matches(PyExc_TypeError)) throw;
      capsule = method();  // producers from before DLPack 1.0 do not know max_version
    }
    if (PyCapsule_IsValid(capsule.ptr(), "dltensor_versioned")) {
      versioned_ = static_cast<dlpack::ManagedTensorVersioned*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor_versioned"));
      PyCapsule_SetName(capsule.ptr(), "used_dltensor_versioned");  // ours to delete from here on
      if (versioned_->version.major != dlpack::kMajorVersion) {
        // The destructor does not run for an unfinished object.
        if (versioned_->deleter) versioned_->deleter(versioned_);
        throw py::buffer_error(name_ + ": expected DLPack version 1, got a newer one");
      }
      tensor_ = versioned_->tensor;
      read_only_ = (versioned_->flags & dlpack::kFlagReadOnly) != 0;
    } else if (PyCapsule_IsValid(capsule.ptr(), "dltensor")) {
      legacy_ = static_cast<dlpack::ManagedTensor*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor"));
      PyCapsule_SetName(capsule.ptr(), "used_dltensor");
      tensor_ = legacy_->tensor;
    } else {
      throw py::type_error(name_ + ": __dlpack__ did not return a DLPack capsule");
    }
  }

  static constexpr int kMaxBufferDims = 4;

  std::string name_;
  dlpack::Tensor tensor_{};
  bool read_only_ = false;
  Py_buffer buffer_{};
  std::int64_t buffer_shape_[kMaxBufferDims], buffer_strides_[kMaxBufferDims];
  dlpack::ManagedTensor* legacy_ = nullptr;
  dlpack::ManagedTensorVersioned* versioned_ = nullptr;
};

inline std::string describe(const dlpack::DataType& type) {
  const char* kind = type.code == dlpack::kInt       ? "int"
                     : type.code == dlpack::kUInt    ? "uint"
                     : type.code == dlpack::kFloat   ? "float"
                     : type.code == dlpack::kBfloat  ? "bfloat"
                     : type.code == dlpack::kComplex ? "complex"
                                                     : nullptr;
  std::string text = type.code == dlpack::kBool ? "bool"
                     : kind                     ? kind + std::to_string(type.bits)
                                                : "DLPack type code " + std::to_string(type.code);
  return type.lanes == 1 ? text : text + "x" + std::to_string(type.lanes);
}

inline bool is(const dlpack::DataType& type, std::uint8_t code, int bits) {
  return type.code == code && type.bits == bits && type.lanes == 1;
}

inline DType float_dtype(const dlpack::DataType& type, const std::string& name, const std::string& or_other = "") {
  if (is(type, dlpack::kFloat, 32)) return DType::kFloat32;
  if (is(type, dlpack::kFloat, 64)) return DType::kFloat64;
  if (is(type, dlpack::kBfloat, 16)) return DType::kBFloat16;
  if (is(type, dlpack::kFloat, 16)) return DType::kFloat16;
  throw py::type_error(name + ": expected float32, float64, bfloat16" + (or_other.empty() ? " or " : ", ") + "float16" +
                       or_other + ", got " + describe(type));
}

/// Where an argument's memory must be.
enum class Memory { kCpu, kCuda };

/// An argument: the view and what all arguments are checked for.
class TensorArg {
 public:
  enum Access { kRead, kWrite };

  /// Allowed numbers of dimensions.
  struct Dims {
    Dims(int only) : least(only), most(only) {}  // NOLINT: a number is a range
    Dims(int least, int most) : least(least), most(most) {}
    int least, most;
  };

  TensorArg(py::handle object, const char* name, Dims dims, Memory memory, Access access = kRead)
      : name_(name), borrowed_(object, name) {
    const dlpack::Tensor& t = borrowed_.tensor();
    if (!is_in(t.device, memory)) {
      throw py::type_error(name_ + ": expected " + (memory == Memory::kCpu ? "CPU" : "CUDA") +
                           " memory, got DLPack device type " + std::to_string(t.device.type) +
                           (t.device.type == dlpack::kCuda  ? " (CUDA)"
                            : t.device.type == dlpack::kCpu ? " (CPU)"
                                                            : ""));
    }
    if (t.ndim < dims.least || t.ndim > dims.most) {
      throw py::value_error(name_ + ": expected " + std::to_string(dims.least) +
                            (dims.most > dims.least ? " or " + std::to_string(dims.most) : "") + " dimensions, got " +
                            std::to_string(t.ndim));
    }
    const int ndim = t.ndim;
    count_ = 1;
    for (int d = 0; d < ndim; ++d) count_ *= t.shape[d];
    if (!t.data && count_ > 0) {
      throw py::type_error(name_ + ": expected a tensor with data, got one without (a fake tensor?)");
    }
    if (access == kWrite && borrowed_.read_only())
      throw py::value_error(name_ + ": expected a writable array, got a read-only one");
    if (count_ > 0 && t.shape[ndim - 1] > 1 && stride(ndim - 1) != 1) {
      throw py::value_error(name_ + ": expected unit stride in the last dimension, got " + std::to_string(stride(ndim - 1)));
    }
    if (access == kWrite && count_ > 0 && ndim == 2 && t.shape[0] > 1 && stride(0) < t.shape[1]) {
      throw py::value_error(name_ + ": expected rows that do not overlap, got row stride " + std::to_string(stride(0)) +
                            " for " + std::to_string(t.shape[1]) + " columns");
    }
  }

  int ndim() const { return borrowed_.tensor().ndim; }
  std::int64_t shape(int d) const { return borrowed_.tensor().shape[d]; }
  DType dtype() const { return float_dtype(borrowed_.tensor().dtype, name_); }
  const dlpack::DataType& raw_dtype() const { return borrowed_.tensor().dtype; }
  const std::string& name() const { return name_; }
  int device() const { return borrowed_.tensor().device.id; }

  std::int64_t stride(int d) const {
    const dlpack::Tensor& t = borrowed_.tensor();
    if (t.strides) return t.strides[d];
    std::int64_t stride = 1;
    for (int later = d + 1; later < t.ndim; ++later) stride *= t.shape[later];
    return stride;
  }

  void* data() const {
    const dlpack::Tensor& t = borrowed_.tensor();
    return t.data ? static_cast<char*>(t.data) + t.byte_offset : nullptr;
  }

  ConstMatrixView matrix() const { return {data(), dtype(), shape(0), shape(1), stride(0)}; }
  /// As matrix(), with int8 among the types.
  ConstMatrixView matrix_or_int8() const {
    const DType type = is(raw_dtype(), dlpack::kInt, 8) ? DType::kInt8 : float_dtype(raw_dtype(), name_, " or int8");
    return {data(), type, shape(0), shape(1), stride(0)};
  }
  MatrixView output() const { return {data(), dtype(), shape(0), shape(1), stride(0)}; }
  /// [batch, tokens, dim], or [batch, dim] as one token.
  ConstTensor3View tensor3() const {
    if (ndim() == 2) return {data(), dtype(), shape(0), 1, shape(1), stride(0), stride(0)};
    return {data(), dtype(), shape(0), shape(1), shape(2), stride(0), stride(1)};
  }

  /// Throws ValueError if `input` is on another device.
  void must_be_beside(const TensorArg& input) const {
    if (device() == input.device()) return;
    throw py::value_error(name_ + ": expected device " + std::to_string(input.device()) + " like " + input.name_ + ", got " +
                          std::to_string(device()));
  }

  /// Throws ValueError if this output shares memory with `input`.
  void must_not_overlap(const TensorArg& input) const {
    if (count_ == 0 || input.count_ == 0) return;
    const Span mine = span(), other = input.span();
    if (mine.begin < other.end && other.begin < mine.end) {
      throw py::value_error(name_ + ": expected memory of its own, got memory shared with " + input.name_);
    }
  }

 private:
  static bool is_in(const dlpack::Device& device, Memory memory) {
#if defined(FIMO_EMULATE)
    return device.type == dlpack::kCpu;  // whose memory the emulator takes for a GPU's
#else
    if (memory == Memory::kCuda) return device.type == dlpack::kCuda;
    return device.type == dlpack::kCpu || device.type == dlpack::kCudaHost;
#endif
  }

  struct Span {
    const char* begin;
    const char* end;
  };
  Span span() const {
    const dlpack::Tensor& t = borrowed_.tensor();
    std::int64_t low = 0, high = 1;
    for (int d = 0; d < t.ndim; ++d) (stride(d) < 0 ? low : high) += (shape(d) - 1) * stride(d);
    const std::int64_t bytes = t.dtype.bits / 8;
    return {static_cast<const char*>(data()) + low * bytes, static_cast<const char*>(data()) + high * bytes};
  }

  std::string name_;
  Borrowed borrowed_;
  std::int64_t count_;
};

}  // namespace fimo::bindings
