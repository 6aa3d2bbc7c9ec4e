// SPDX-License-Identifier: Apache-2.0
/// \file
/// The parts of the DLPack 1.x binary interface that the bindings read, written down from its specification.
///
/// Three ways lead to a DLTensor: the C exchange table of a type (`__dlpack_c_exchange_api__`, torch >= 2.10), and the capsules
/// that `__dlpack__` returns, versioned ("dltensor_versioned") or from before DLPack 1.0 ("dltensor").
#pragma once

#include <cstddef>
#include <cstdint>

namespace fimo::dlpack {

enum DeviceType : std::int32_t { kCpu = 1, kCuda = 2, kCudaHost = 3 };
enum TypeCode : std::uint8_t { kInt = 0, kUInt = 1, kFloat = 2, kBfloat = 4, kComplex = 5, kBool = 6 };

constexpr std::uint32_t kMajorVersion = 1;
constexpr std::uint64_t kFlagReadOnly = 1;

struct Device {
  std::int32_t type;
  std::int32_t id;
};

struct DataType {
  std::uint8_t code;
  std::uint8_t bits;
  std::uint16_t lanes;
};

struct Tensor {
  void* data;
  Device device;
  std::int32_t ndim;
  DataType dtype;
  std::int64_t* shape;
  std::int64_t* strides;  // in elements; null means contiguous before DLPack 1.2
  std::uint64_t byte_offset;
};

struct Version {
  std::uint32_t major;
  std::uint32_t minor;
};

struct ManagedTensor {
  Tensor tensor;
  void* context;
  void (*deleter)(ManagedTensor*);
};

struct ManagedTensorVersioned {
  Version version;
  void* context;
  void (*deleter)(ManagedTensorVersioned*);
  std::uint64_t flags;
  Tensor tensor;
};

/// The table behind `__dlpack_c_exchange_api__`. Entries we do not call are plain pointers.
struct ExchangeApi {
  Version version;
  ExchangeApi* previous;
  void* managed_tensor_allocator;
  void* managed_tensor_from_py_object;
  void* managed_tensor_to_py_object;
  int (*tensor_from_py_object)(void* py_object, Tensor* out);  // a borrowed view; null where unsupported
  void* current_work_stream;
};

static_assert(sizeof(void*) == 8, "DLPack's layout below is the one of 64-bit platforms");
static_assert(sizeof(Tensor) == 48 && offsetof(Tensor, shape) == 24 && offsetof(Tensor, byte_offset) == 40);
static_assert(sizeof(ManagedTensor) == 64);
static_assert(sizeof(ManagedTensorVersioned) == 80 && offsetof(ManagedTensorVersioned, tensor) == 32);
static_assert(sizeof(ExchangeApi) == 56 && offsetof(ExchangeApi, tensor_from_py_object) == 40);

}  // namespace fimo::dlpack
