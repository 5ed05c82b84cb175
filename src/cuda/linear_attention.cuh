// SPDX-License-Identifier: MIT
// Linear attention of 32 channels a head over pixels x channels images, on raw memory. q is normalised over channels, k over pixels.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

namespace df::cuda {

struct LinearAttentionShape {
  int images, pixels, heads, memories;
  int memory_row;     // elements between the memories of two images; 0 where they share one
  int chunks, chunk;  // pixels of an image are worked on in `chunks` parts, a power of two, of `chunk`, a multiple of 64; some may be empty
};

constexpr int most_attention_chunks = 16;

// qkv [N][P][3][heads][32]; memory [2][heads][32][M] of each image; out [N][P][heads][32]; context [N][heads][32 of k][32 of v], normalised
// and divided by sqrt(32); keys [N][heads][2][32]: what exponentials of keys are taken against, within 8 of the largest key, and their sum.
// Errors that launches report.
cudaError_t linear_attention(const LinearAttentionShape& shape, const __nv_bfloat16* qkv, const float* memory, float* context, float* keys,
                             __nv_bfloat16* out, cudaStream_t stream);

// dmemory: [N][2][heads][32][M], by image.
cudaError_t linear_attention_backward(const LinearAttentionShape& shape, const __nv_bfloat16* qkv, const float* memory,
                                      const float* context, const float* keys, const __nv_bfloat16* dout, __nv_bfloat16* dqkv,
                                      float* dmemory, cudaStream_t stream);

}  // namespace df::cuda
