// SPDX-License-Identifier: MIT
// Choices of LibTorch that hold for the whole process and that a GPU runs networks fastest with.
#pragma once

namespace df {

// While it lives, float32 products and convolutions on a GPU may round their operands to TF32 (10 bits of mantissa), and cuDNN measures its
// algorithms for each new shape and takes the fastest one. Then everything is as it was before. The CPU is not affected.
// The programs make one as they start. The library never changes these choices itself: a program that links it and runs networks on a GPU
// decides for itself, and makes one where it wants the speed of the programs. Several may live at the same time, on any threads.
class FastMath {
 public:
  FastMath();
  ~FastMath();
  FastMath(const FastMath&) = delete;
  FastMath& operator=(const FastMath&) = delete;
};

}  // namespace df
