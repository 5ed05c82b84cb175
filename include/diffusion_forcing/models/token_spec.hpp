// SPDX-License-Identifier: MIT
// What a data set tells a model about its tokens.
#pragma once

#include <cstdint>

#include "diffusion_forcing/core/shape.hpp"

namespace df {

// What a model must know of the data: shapes of tokens, conditions and first observations.
struct TokenSpec {
  Shape token_shape;          // [F * C, H, W], [F * D], or [F, D] where a token is a whole trajectory
  int64_t condition_dim = 0;  // C of the external condition, 0: none
  Shape init_shape;           // of what an encoded initial latent sees; empty: none
  int64_t frame_stack = 1;    // F frames per token
  template <class V>
  void visit(V&& v) {
    v("token_shape", token_shape, "");
    v("condition_dim", condition_dim, "");
    v("init_shape", init_shape, "");
    v("frame_stack", frame_stack, "");
  }
};

}  // namespace df
