// SPDX-License-Identifier: MIT
// Tokens predicted each for itself, after latents that other versions of the tokens before left.
#pragma once

#include "diffusion_forcing/core/tensor.hpp"

namespace df {

class CausalModel;

// The prediction [B, T, token...] of each of the tokens x [B, T, token...] at levels k [B, T]: token t after z, which is before the first
// of them, and `chain` [B, T, latent...], whose entries before t stand for the tokens before t. c [B, T, C] or undefined.
Tensor predict_after(CausalModel& model, const Tensor& x, const Tensor& k, const Tensor& c, const Tensor& z, const Tensor& chain);

}  // namespace df
