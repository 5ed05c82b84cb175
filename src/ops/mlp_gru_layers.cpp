// SPDX-License-Identifier: MIT
#include "ops/mlp_gru_layers.hpp"

#include <utility>

namespace df::ops::recurrence {

namespace {

using Kind = TokenLayer::Kind;

// The blocks on x, and the last layer, which writes to `out`.
void add_forward(std::vector<TokenLayer>& layers, const Mlp& mlp, const MlpTape& tape, Tensor x, const Tensor& out) {
  const int64_t n = width(mlp.blocks[0]);
  for (size_t i = 0; i < mlp.blocks.size(); ++i) {
    const Linear& first = i == 0 ? mlp.head : mlp.blocks[i].first;
    const BlockTape& at = tape.blocks[i];
    layers.push_back({Kind::dense, x, first.w, first.b, {}, {}, i == 0 ? tape.head : at.first, at.hidden});
    layers.push_back({Kind::dense,
                      at.hidden,
                      mlp.blocks[i].second.w,
                      mlp.blocks[i].second.b,
                      i == 0 ? part(tape.head, n, n) : x,
                      {},
                      at.second,
                      at.out});
    x = at.out;
  }
  layers.push_back({Kind::dense, x, mlp.last.w, mlp.last.b, {}, {}, out, {}});
}

Tensor transposed(const Tensor& w) { return w.t().contiguous(); }

// From the gradient of what the last layer gives to that of the head's outputs.
void add_backward(std::vector<TokenLayer>& layers, const Mlp& mlp, const MlpTape& tape, const MlpTape& gradient, const Tensor& dy) {
  const size_t last = mlp.blocks.size() - 1;
  layers.push_back({Kind::dense, dy, transposed(mlp.last.w), {}, {}, tape.blocks[last].second, gradient.blocks[last].second, {}});
  for (size_t i = last + 1; i-- > 0;) {
    const BlockTape &at = tape.blocks[i], &d = gradient.blocks[i];
    layers.push_back({Kind::dense, d.second, transposed(mlp.blocks[i].second.w), {}, {}, at.first, d.first, {}});
    if (i == 0) break;
    layers.push_back({Kind::dense,
                      d.first,
                      transposed(mlp.blocks[i].first.w),
                      {},
                      d.second,
                      tape.blocks[i - 1].second,
                      gradient.blocks[i - 1].second,
                      {}});
  }
}

}  // namespace

bool has_layers(const Weights& weights) {
  const auto described = [](const Mlp& mlp) { return !mlp.blocks.empty() && mlp.last.w.defined() && has_shortcut(mlp); };
  return weights.cells.size() == 1 && described(weights.before) && described(weights.after);
}

TokenLayers forward_layers(const Weights& weights, const Tape& tape, int64_t tokens) {
  const int64_t units = tape.state.size(2);
  const Cells cells(weights, units);
  const Tensor z = part(tape.input, 0, units), before = z.narrow(0, 0, tokens);
  TokenLayers all{{}, {tape.gates, cells.from_state(tape.before.head, 0), before, tape.state, {}, {}, {}}, tokens};
  add_forward(all.layers, weights.before, tape.before, tape.input.narrow(0, 0, tokens), tape.before.last);
  all.layers.push_back({Kind::gru, tape.before.last, weights.cells[0].w, weights.cells[0].b, {}, {}, {}, {}});
  add_forward(all.layers, weights.after, tape.after, tape.state, z.narrow(0, 1, tokens));
  return all;
}

TokenLayers backward_layers(const Weights& weights, const Tape& tape, const GradientTape& gradient, int64_t tokens) {
  const int64_t units = gradient.z.size(2);
  const Cells cells(weights, units);
  const Tensor before = gradient.z.narrow(0, 0, tokens), after = gradient.z.narrow(0, 1, tokens);
  const Tensor z = part(tape.input, 0, units).narrow(0, 0, tokens);
  TokenLayers all{
      {},
      {tape.gates, cells.from_state(tape.before.head, 0), z, {}, gradient.gates, cells.from_state(gradient.before.head, 0), before},
      tokens,
      /*reverse=*/true};
  add_backward(all.layers, weights.after, tape.after, gradient.after, after);
  all.layers.push_back({Kind::gru_backward, gradient.after.head, transposed(weights.after.head.w), {}, {}, {}, {}, {}});
  all.layers.push_back({Kind::dense, gradient.gates, transposed(weights.cells[0].w), {}, {}, {}, gradient.last, {}});
  add_backward(all.layers, weights.before, tape.before, gradient.before, gradient.last);
  all.layers.push_back({Kind::dense, gradient.before.head, transposed(part(weights.before.head.w, 0, units)), {}, before, {}, before, {}});
  return all;
}

}  // namespace df::ops::recurrence
