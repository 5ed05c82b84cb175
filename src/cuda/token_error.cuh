// SPDX-License-Identifier: MIT
// Noising tokens and the loss of their predictions, on raw memory.
#pragma once

#include <cuda_runtime.h>

#include "cuda/cell_moves.cuh"

namespace df::cuda {

// of_x0 x0 + of_eps min(max(eps, -clip), clip) for each element of N cells, [N][size]; factors [N].
struct TokenMix {
  const float *x0, *eps;  // null: 0
  const float *of_x0, *of_eps;
  float clip;
  int cells, size;
};

void mix_tokens(const TokenMix& mix, float* out, cudaStream_t stream);

// Blocks of the next kernel, each of which gives one partial sum.
int error_blocks(const TokenMix& mix);

// Sums of weight (mix - prediction)^2 over all elements, [error_blocks]. weight [N][frames]: a token's size is divided evenly among frames.
template <class T>
void weighted_error(const TokenMix& mix, const CellImages<T>& prediction, const float* weight, int frames, float* partial,
                    cudaStream_t stream);

// gradient = 2 scale upstream weight (prediction - mix), laid out as `prediction` is.
template <class T>
void weighted_error_backward(const TokenMix& mix, const CellImages<T>& prediction, const float* weight, int frames, const float* upstream,
                             float scale, T* gradient, cudaStream_t stream);

}  // namespace df::cuda
