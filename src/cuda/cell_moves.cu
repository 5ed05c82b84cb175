// SPDX-License-Identifier: MIT
// A block takes some elements of one cell, a thread an element at a time; x first, then z.
#include "cuda/cell_moves.cuh"

#include "cuda/vector.cuh"
#include "ops/cell_table.hpp"

namespace df::cuda {

namespace {

constexpr int threads = 256;

__device__ inline int number(const int* table, int cells, CellTable::Row row, int cell) {
  return table[static_cast<int>(row) * cells + cell];
}
__device__ inline float factor(const int* table, int cells, CellTable::Row row, int cell) {
  return __int_as_float(number(table, cells, row, cell));
}

__device__ inline float* slot(const CellBuffer& buffer, int sequence, int index) {
  return buffer.data + (static_cast<size_t>(sequence) * buffer.slots + index) * buffer.size;
}
template <class T>
__device__ inline float element(const CellImages<T>& images, int image, int i) {
  const size_t at = static_cast<size_t>(image) * images.image + static_cast<size_t>(i / images.pixels) * images.channel +
                    static_cast<size_t>(i % images.pixels) * images.pixel;
  return to_float(images.data[at]);
}

__global__ void __launch_bounds__(threads)
    gather_kernel(const int* table, int cells, CellBuffer x, CellBuffer z, float* shown, float* next_z, long* level) {
  const int image = blockIdx.x, sequence = image / cells, cell = image % cells, first = blockIdx.y * threads + threadIdx.x;
  const int apart = gridDim.y * threads;
  if (first == 0) level[image] = number(table, cells, CellTable::level, cell);
  const float* from_x = slot(x, sequence, number(table, cells, CellTable::token, cell));
  const float* from_z = slot(z, sequence, number(table, cells, CellTable::z_in, cell));
  const float show = factor(table, cells, CellTable::show, cell);
  for (int i = first; i < x.size; i += apart) shown[static_cast<size_t>(image) * x.size + i] = show * from_x[i];
  for (int i = first; i < z.size; i += apart) next_z[static_cast<size_t>(image) * z.size + i] = from_z[i];
}

template <class P, class Z>
__global__ void __launch_bounds__(threads)
    move_kernel(const int* table, int cells, const float* shown, CellImages<P> prediction, CellImages<Z> latent, const float* noise,
                float prediction_bound, float x0_bound, CellBuffer x, CellBuffer z) {
  const int image = blockIdx.x, sequence = image / cells, cell = image % cells, first = blockIdx.y * threads + threadIdx.x;
  const int apart = gridDim.y * threads;
  const auto of = [&](CellTable::Row row) { return factor(table, cells, row, cell); };
  const float x0_x = of(CellTable::x0_x), x0_prediction = of(CellTable::x0_prediction), eps_x = of(CellTable::eps_x),
              eps_prediction = of(CellTable::eps_prediction), to_x0 = of(CellTable::to_x0), to_eps = of(CellTable::to_eps),
              to_noise = of(CellTable::to_noise);
  float* to_x = slot(x, sequence, number(table, cells, CellTable::x_out, cell));
  float* to_z = slot(z, sequence, number(table, cells, CellTable::z_out, cell));
  for (int i = first; i < x.size; i += apart) {
    const size_t at = static_cast<size_t>(image) * x.size + i;
    const float now = shown[at];
    float given = fminf(fmaxf(element(prediction, image, i), -prediction_bound), prediction_bound);
    const float x0 = fminf(fmaxf(x0_x * now + x0_prediction * given, -x0_bound), x0_bound);
    if (!isinf(x0_bound)) given = x0;
    const float moved = to_x0 * x0 + to_eps * (eps_x * now + eps_prediction * given);
    to_x[i] = noise ? moved + to_noise * noise[at] : moved;
  }
  for (int i = first; i < z.size; i += apart) to_z[i] = element(latent, image, i);
}

// A block for every 1024 elements.
dim3 grid_of(int images, const CellBuffer& x, const CellBuffer& z) {
  const int most = x.size > z.size ? x.size : z.size;
  return dim3(images, (most + 4 * threads - 1) / (4 * threads));
}

}  // namespace

void gather_cells(const int* table, int sequences, int cells, const CellBuffer& x, const CellBuffer& z, float* shown, float* next_z,
                  long* level, cudaStream_t stream) {
  gather_kernel<<<grid_of(sequences * cells, x, z), threads, 0, stream>>>(table, cells, x, z, shown, next_z, level);
}

template <class P, class Z>
void move_cells(const int* table, int sequences, int cells, const float* shown, const CellImages<P>& prediction,
                const CellImages<Z>& latent, const float* noise, float prediction_bound, float x0_bound, const CellBuffer& x,
                const CellBuffer& z, cudaStream_t stream) {
  move_kernel<P, Z><<<grid_of(sequences * cells, x, z), threads, 0, stream>>>(table, cells, shown, prediction, latent, noise,
                                                                              prediction_bound, x0_bound, x, z);
}

#define DF_INSTANCE(P, Z)                                                                                                             \
  template void move_cells<P, Z>(const int*, int, int, const float*, const CellImages<P>&, const CellImages<Z>&, const float*, float, \
                                 float, const CellBuffer&, const CellBuffer&, cudaStream_t);
DF_INSTANCE(float, float)
DF_INSTANCE(float, __nv_bfloat16)
DF_INSTANCE(__nv_bfloat16, float)
DF_INSTANCE(__nv_bfloat16, __nv_bfloat16)
#undef DF_INSTANCE

}  // namespace df::cuda
