// SPDX-License-Identifier: MIT
// The recurrence of an MLP-GRU as a list of layers that one kernel runs over all tokens: for batches too small to fill a device with one
// layer, where launching kernels and waiting for memory is what takes the time.
#pragma once

#include "ops/mlp_gru_tape.hpp"
#include "ops/token_layers.hpp"

namespace df::ops::recurrence {

// Whether the lists below describe these weights: one cell, residual layers before and after it, a shortcut in the first of each.
bool has_layers(const Weights& weights);

// z_t of all tokens, into input[1 ..]. `tape` as in the operator.
TokenLayers forward_layers(const Weights& weights, const Tape& tape, int64_t tokens);

struct GradientTape {
  MlpTape before, after;
  Tensor gates, last;  // of what the cells get from their inputs; of what goes into the cells
  Tensor z;            // [T + 1, B, Z] of z before each token and after the last; holds what comes from outside at first
};
// Gradients of everything that is on the tape, but for those of the features.
TokenLayers backward_layers(const Weights& weights, const Tape& tape, const GradientTape& gradient, int64_t tokens);

}  // namespace df::ops::recurrence
