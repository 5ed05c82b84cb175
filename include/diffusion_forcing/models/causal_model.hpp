// SPDX-License-Identifier: MIT
// The contract of every backbone: z_t = f(z_{t-1}, x_t, k_t, c_t) and a prediction decoded from it.
#pragma once

#include <torch/nn/module.h>

#include <cstdint>
#include <string_view>

#include "diffusion_forcing/core/shape.hpp"
#include "diffusion_forcing/core/tensor.hpp"

namespace df {

// What a model gives for one token of each row.
struct TokenOutput {
  Tensor prediction;  // [N, token...] in the space of diffusion.output
  Tensor z;           // [N, latent...] after the token
};

// What a model gives for whole sequences.
struct SequenceOutput {
  Tensor prediction;  // [B, T, token...]
  Tensor z;           // [B, T, latent...] after each token
};

// What a token leaves for later ones is its z. A recurrent model (history() == 1) puts all that came before into it, and reads the z of the
// token before, [N, latent...]. An attending model (history() == W > 1) reads the z of the last W tokens, such as the keys and values of
// its layers ([layers, 2, ...]); its "z before a token" is a window [N, H, latent...] of the last H <= W tokens' z, oldest first, where H
// is smaller near the start of the sequence and 0 before the first token. A window may be a view into a larger buffer, and must not be
// kept.
//
// Contract (tested on every backbone): output t depends on inputs up to t only; a sequence fed whole equals the sequence fed in
// two parts with the z returned by the first; rows of a batch do not see each other; no state between calls, so calls from
// several threads on one model are safe. Parameter names are the authors'.
// What follows from the weights alone may be kept until a weight's version changes: whoever writes into weights in a way that autograd does
// not see (a replayed recording, a raw pointer) bumps their versions (TensorImpl::bump_version), as Trainer does after each step.
class CausalModel : public torch::nn::Module {
 public:
  // One token for N independent cells: each row has its own token, level, condition and latent.
  // x [N, token...], k int64 [N] in 0..K, c [N, C] or undefined, z [N, latent...], or a window [N, H, latent...] where history() > 1.
  virtual TokenOutput step(const Tensor& x, const Tensor& k, const Tensor& c, const Tensor& z) = 0;

  // x [B, T, token...], k int64 [B, T], c [B, T, C] or undefined, z before the first of them. The default loops over step; an attending
  // model overrides it, since the tokens of a row are run together.
  virtual SequenceOutput unroll(const Tensor& x, const Tensor& k, const Tensor& c, const Tensor& z);

  // z before the first token: [batch, latent...], or a window, usually [batch, 0, latent...]. `init` [batch, init...] feeds an encoded
  // latent; undefined otherwise.
  virtual Tensor initial_latent(int64_t batch, const Tensor& init) = 0;

  virtual int64_t history() const { return 1; }  // W: how many tokens' z a token reads

  // z before the token that follows: of `z` before some tokens and `after` [N, T, latent...], each token's own z. What the second part of a
  // sequence is given to go on where the first part ended.
  Tensor latent_after(const Tensor& z, const Tensor& after) const;

  // What unroll() keeps for the backward pass: everything, or only the inputs of each token, so that memory grows little with T and
  // the forward pass of a token runs twice. Values and gradients are the same.
  void set_recompute(bool on) { recompute_ = on; }

  virtual Shape token_shape() const = 0;
  virtual Shape latent_shape() const = 0;     // of one token's z
  virtual int64_t condition_dim() const = 0;  // 0: c is ignored and may be undefined

  at::Device device() const;  // of the first parameter
  int64_t parameter_count() const;

  // Throws df::Error naming `name` unless z is what may stand before a token of `batch` sequences.
  void check_latent(const Tensor& z, int64_t batch, std::string_view name) const;

 protected:
  bool recompute() const { return recompute_; }
  // Throws df::Error naming the input whose shape does not fit; `leading` is {N} or {B, T}.
  void check_inputs(const Shape& leading, const Tensor& x, const Tensor& k, const Tensor& c, const Tensor& z) const;

 private:
  bool recompute_ = false;
};

}  // namespace df
