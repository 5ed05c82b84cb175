// SPDX-License-Identifier: MIT
// The kernels that a device brings for the operators of this room, a table a subject. Each kernel has a twin of plain tensor operators in
// ops/<subject>_plain.cpp, which runs everywhere else; tests compare the two.
#pragma once

#include <c10/core/Device.h>

namespace df::ops {

class ImageKernels;        // ops/image.hpp
class AttentionKernels;    // ops/attention.hpp
class ConvolutionKernels;  // ops/convolution_passes.hpp
class PointwiseKernels;    // ops/pointwise.hpp
class TokenLayerKernels;   // ops/token_layers.hpp
class CellKernels;         // ops/cell_moves.hpp
class ErrorKernels;        // ops/token_error.hpp

// Of one device. The device's accelerator owns the tables. A table is null where the device brings no kernels for the subject.
struct Kernels {
  const ImageKernels* images = nullptr;
  const AttentionKernels* attention = nullptr;
  const ConvolutionKernels* convolutions = nullptr;
  const PointwiseKernels* pointwise = nullptr;
  const TokenLayerKernels* token_layers = nullptr;
  const CellKernels* cells = nullptr;
  const ErrorKernels* errors = nullptr;
};

// Those of the device that a tensor lies on. The first question about a device makes its accelerator, so the answer does not depend on
// whether somebody asked for the accelerator before. All tables are null where the device has no accelerator. Any thread may ask.
const Kernels& kernels(at::Device device);

// While it lives, operators on `device` use these kernels in place of the device's own. For tests and measurements: no operator may run
// on the device while one is made or ends. Several on one device end in the reverse order.
class UseKernels {
 public:
  UseKernels(at::Device device, const Kernels& kernels);
  ~UseKernels();
  UseKernels(const UseKernels&) = delete;
  UseKernels& operator=(const UseKernels&) = delete;

 private:
  at::Device device_;
  const Kernels* before_;
  Kernels kernels_;
};

}  // namespace df::ops
