// SPDX-License-Identifier: MIT
// Gather and scatter of a sampling step's cells, on raw memory. The table is that of ops/cell_table.hpp.
#pragma once

#include <cuda_runtime.h>

namespace df::cuda {

// Slots of B sequences, float32 [B][slots][size].
struct CellBuffer {
  float* data;
  int slots, size;
};

// What a model gives for each of B n cells: channels x pixels elements, any distance apart.
template <class T>
struct CellImages {
  const T* data;
  int pixels;                 // channels = size of the buffer / pixels
  int image, channel, pixel;  // elements from one to the next
};

// shown [B n][size of x], next_z [B n][size of z], level [B n]
void gather_cells(const int* table, int sequences, int cells, const CellBuffer& x, const CellBuffer& z, float* shown, float* next_z,
                  long* level, cudaStream_t stream);

// shown and noise (or null) as dense as in gather_cells. Bounds may be infinite.
template <class P, class Z>
void move_cells(const int* table, int sequences, int cells, const float* shown, const CellImages<P>& prediction,
                const CellImages<Z>& latent, const float* noise, float prediction_bound, float x0_bound, const CellBuffer& x,
                const CellBuffer& z, cudaStream_t stream);

}  // namespace df::cuda
