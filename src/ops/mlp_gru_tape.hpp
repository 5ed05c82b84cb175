// SPDX-License-Identifier: MIT
// What the recurrence of an MLP-GRU keeps: its weights as it multiplies by them, the values of its tokens and their gradients.
#pragma once

#include <ATen/ATen.h>

#include <vector>

#include "diffusion_forcing/core/tensor.hpp"

namespace df::ops::recurrence {

// The weights as the recurrence multiplies by them: layers that see the same input are one matrix, the head.
struct Linear {
  Tensor w, b;  // [out, in], [out]
};
struct Block {
  Linear first, second;  // of the first block only `second`: the head is the rest
};
struct Mlp {
  Linear head;  // first and shortcut of the first block, before the cells also what their gates get from z; undefined: no blocks
  std::vector<Block> blocks;
  Linear last;  // may be undefined
};
struct Weights {
  Mlp before;
  std::vector<Linear> cells;  // what their gates get from their input
  Mlp after;
};

// Values [T, B, n], or [1, B, n] where no other token will ask for them. With gradients in place of values for the backward pass.
struct BlockTape {
  Tensor first, hidden, second, out;  // hidden = gelu(first), out = gelu(second), residual included
};
struct MlpTape {
  Tensor head;
  std::vector<BlockTape> blocks;
  Tensor last;
};
struct Tape {
  Tensor input;  // [T + 1, B, Z + F]: z before the token, features
  MlpTape before;
  Tensor gates, state;  // from the cells' inputs [., B, 3 Z]; the cells' new states [., B, Z]
  MlpTape after;
};

// f(tensor) for all of them in a fixed order.
template <class F>
void each(Linear& linear, const F& f) {
  f(linear.w), f(linear.b);
}
template <class F>
void each(Mlp& mlp, const F& f) {
  each(mlp.head, f), each(mlp.last, f);
  for (Block& block : mlp.blocks) each(block.first, f), each(block.second, f);
}
template <class F>
void each(Weights& weights, const F& f) {
  each(weights.before, f), each(weights.after, f);
  for (Linear& cell : weights.cells) each(cell, f);
}
template <class F>
void each(MlpTape& mlp, const F& f) {
  f(mlp.head), f(mlp.last);
  for (BlockTape& block : mlp.blocks) f(block.first), f(block.hidden), f(block.second), f(block.out);
}
template <class F>
void each(Tape& tape, const F& f) {
  f(tape.input), f(tape.gates), f(tape.state);
  each(tape.before, f), each(tape.after, f);
}

inline Tensor of(const Tensor& all, int64_t token) { return all.select(0, all.size(0) == 1 ? 0 : token); }
inline int64_t width(const Block& block) { return block.second.w.size(0); }
inline bool has_shortcut(const Mlp& mlp) { return mlp.head.w.size(0) >= 2 * width(mlp.blocks.front()); }
inline Tensor part(const Tensor& x, int64_t start, int64_t length) { return x.narrow(-1, start, length); }

// Sizes and slices that the cells use.
struct Cells {
  int64_t count, units, offset;  // offset: of what the gates get from z among the outputs of the head
  Cells(const Weights& w, int64_t z)
      : count(static_cast<int64_t>(w.cells.size())), units(z / count), offset(w.before.head.w.size(0) - 3 * z) {}
  Tensor from_input(const Tensor& gates, int64_t g) const { return part(gates, 3 * units * g, 3 * units); }
  Tensor from_state(const Tensor& head, int64_t g) const { return part(head, offset + 3 * units * g, 3 * units); }
  Tensor state(const Tensor& z, int64_t g) const { return part(z, units * g, units); }
};

}  // namespace df::ops::recurrence
