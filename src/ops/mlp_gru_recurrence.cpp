// SPDX-License-Identifier: MIT
#include "ops/mlp_gru_recurrence.hpp"

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/custom_function.h>

#include "core/autocast.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "ops/kernels.hpp"
#include "ops/mlp_gru_layers.hpp"
#include "ops/mlp_gru_tape.hpp"
#include "ops/pointwise.hpp"

namespace df::ops {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using namespace recurrence;

struct Call {
  Weights weights;
  at::ScalarType type = at::kFloat;  // of the computation
  bool gradients = false;            // whether anything needs a gradient
  bool learned = false;              // whether a weight does
};

void linear_into(Tensor out, const Tensor& x, const Linear& linear) {
  linear.b.defined() ? at::addmm_out(out, linear.b, x, linear.w.t()) : at::mm_out(out, x, linear.w.t());
}
void product_into(Tensor out, const Tensor& x, const Tensor& w) { at::mm_out(out, x, w); }

// Makes tensors [tokens or 1, B, n].
class Maker {
 public:
  Maker(int64_t tokens, int64_t batch, at::TensorOptions options) : tokens_(tokens), batch_(batch), options_(options) {}
  Tensor operator()(bool kept, int64_t n) const { return at::empty({kept ? tokens_ : 1, batch_, n}, options_); }

 private:
  int64_t tokens_, batch_;
  at::TensorOptions options_;
};

// kept: of values that their own backward pass needs; learned: of values that only gradients of weights need.
MlpTape make_tape(const Mlp& mlp, const Maker& make, bool kept, bool learned) {
  MlpTape tape;
  if (!mlp.blocks.empty()) tape.head = make(kept, mlp.head.w.size(0));
  for (size_t i = 0; i < mlp.blocks.size(); ++i) {
    const int64_t n = width(mlp.blocks[i]);
    tape.blocks.push_back({i == 0 ? part(tape.head, 0, n) : make(kept, n), make(learned, n), make(kept, n), make(learned, n)});
  }
  if (mlp.last.w.defined()) tape.last = make(learned, mlp.last.w.size(0));
  return tape;
}

// The blocks on x, whose product with the head is on the tape.
Tensor forward(const Mlp& mlp, const MlpTape& tape, Tensor x, int64_t t) {
  for (size_t i = 0; i < mlp.blocks.size(); ++i) {
    const BlockTape& at = tape.blocks[i];
    const Tensor first = of(at.first, t), hidden = of(at.hidden, t), second = of(at.second, t), out = of(at.out, t);
    if (i > 0) linear_into(first, x, mlp.blocks[i].first);
    add_gelu(first, {}, {}, hidden);
    product_into(second, hidden, mlp.blocks[i].second.w.t());
    const bool shortcut = i == 0 && has_shortcut(mlp);
    add_gelu(second, mlp.blocks[i].second.b, shortcut ? part(of(tape.head, t), width(mlp.blocks[0]), width(mlp.blocks[0])) : x, out);
    x = out;
  }
  return x;
}

// Gradients of `first` and `second` of every block from that of the last block's output.
void backward(const Mlp& mlp, const MlpTape& tape, const MlpTape& gradient, Tensor dy, int64_t t) {
  Tensor more;
  for (size_t i = mlp.blocks.size(); i-- > 0;) {
    const Tensor first = of(gradient.blocks[i].first, t), second = of(gradient.blocks[i].second, t);
    gelu_backward(dy, more, of(tape.blocks[i].second, t), second);
    product_into(gradient.blocks[i].hidden[0], second, mlp.blocks[i].second.w);
    gelu_backward(gradient.blocks[i].hidden[0], {}, of(tape.blocks[i].first, t), first);
    if (i == 0) break;
    dy = gradient.blocks[i].out[0];
    product_into(dy, first, mlp.blocks[i].first.w);
    more = second;
  }
}

// Where gradients go. The head's holds those of its two parts; what passes through only is made once.
MlpTape make_gradient(const Mlp& mlp, const Maker& make, bool head_kept, bool learned) {
  MlpTape tape;
  if (!mlp.blocks.empty()) tape.head = make(head_kept, mlp.head.w.size(0));
  for (size_t i = 0; i < mlp.blocks.size(); ++i) {
    const int64_t n = width(mlp.blocks[i]);
    const bool in_head = i == 0 && has_shortcut(mlp);
    tape.blocks.push_back({i == 0 ? part(tape.head, 0, n) : make(learned, n), i == 0 ? make(false, n) : tape.blocks[0].hidden,
                           in_head ? part(tape.head, n, n) : make(learned, n), i == 0 ? make(false, n) : tape.blocks[0].out});
  }
  return tape;
}

// Over all tokens at once: dy [T, B, out], x [T, B, in].
Linear gradient_of(const Linear& linear, const Tensor& dy, const Tensor& x) {
  const Tensor d = dy.view({-1, dy.size(2)}), in = x.view({-1, x.size(2)});
  const bool widen = !d.is_cpu() && d.scalar_type() != at::kFloat;
  Linear gradient{widen ? at::mm(d.t(), in, at::kFloat) : at::mm(d.t(), in), {}};
  if (linear.b.defined()) gradient.b = at::sum(d, {0}, false, d.scalar_type() == at::kBFloat16 ? at::kFloat : d.scalar_type());
  return gradient;
}

Mlp gradient_of(const Mlp& mlp, const MlpTape& tape, const MlpTape& gradient, const Tensor& input, const Tensor& last) {
  Mlp out;
  out.blocks.resize(mlp.blocks.size());
  Tensor x = input;
  for (size_t i = 0; i < mlp.blocks.size(); ++i) {
    const BlockTape &at = tape.blocks[i], &d = gradient.blocks[i];
    if (i == 0)
      out.head = gradient_of(mlp.head, gradient.head, x);
    else
      out.blocks[i].first = gradient_of(mlp.blocks[i].first, d.first, x);
    out.blocks[i].second = gradient_of(mlp.blocks[i].second, d.second, at.hidden);
    x = at.out;
  }
  if (mlp.last.w.defined()) out.last = gradient_of(mlp.last, last, x);
  return out;
}

// Whether the device has a kernel for the whole list of layers that is faster. input [T + 1, B, .]
bool runs_as_layers(const Weights& weights, const Tensor& input) {
  const auto* own = kernels(input.device()).token_layers;
  return own && own->faster(input.scalar_type(), input.size(1)) && has_layers(weights);
}

struct Recurrence : torch::autograd::Function<Recurrence> {
  // `all` are the defined weights of `call`, which autograd has to see.
  static Tensor forward(AutogradContext* context, const Call& call, const Tensor& features, const Tensor& z, at::TensorList all) {
    const c10::impl::ExcludeDispatchKeyGuard exact(c10::autocast_dispatch_keyset);
    const int64_t tokens = features.size(1), batch = features.size(0), f = features.size(2), units = z.size(1);
    Weights w = call.weights;
    each(w, [&](Tensor& x) { x = x.defined() ? x.to(call.type) : x; });
    const Maker make(tokens, batch, features.options().dtype(call.type).requires_grad(false));
    Tape tape;
    tape.input = at::empty({tokens + 1, batch, w.before.head.w.size(1)}, features.options().dtype(call.type).requires_grad(false));
    part(tape.input, units, f).narrow(0, 0, tokens).copy_(features.transpose(0, 1));
    part(tape.input, units + f, tape.input.size(2) - units - f).zero_();
    part(tape.input[0], 0, units).copy_(z);
    tape.before = make_tape(w.before, make, call.gradients, call.learned);
    tape.gates = make(call.gradients, 3 * units);
    tape.state = make(call.learned, units);
    tape.after = make_tape(w.after, make, call.gradients, call.learned);

    const Cells cells(w, units);
    const bool as_layers = runs_as_layers(w, tape.input);
    if (as_layers) token_layers(forward_layers(w, tape, tokens));
    for (int64_t t = as_layers ? tokens : 0; t < tokens; ++t) {
      const Tensor head = of(tape.before.head, t), gates = of(tape.gates, t), state = of(tape.state, t);
      linear_into(head, tape.input[t], w.before.head);
      Tensor x = ops::forward(w.before, tape.before, {}, t);
      if (w.before.last.w.defined()) {
        linear_into(of(tape.before.last, t), x, w.before.last);
        x = of(tape.before.last, t);
      }
      for (int64_t g = 0; g < cells.count; ++g) {
        linear_into(cells.from_input(gates, g), x, w.cells[static_cast<size_t>(g)]);
        x = cells.state(state, g);
        gru(cells.from_input(gates, g), cells.from_state(head, g), cells.state(tape.input[t], g), x);
      }
      x = state;
      if (!w.after.blocks.empty()) {
        linear_into(of(tape.after.head, t), x, w.after.head);
        x = ops::forward(w.after, tape.after, x, t);
      }
      linear_into(part(tape.input[t + 1], 0, units), x, w.after.last);
    }
    const Tensor latents = part(tape.input, 0, units).narrow(0, 1, tokens).transpose(0, 1).contiguous();
    if (call.gradients) save(context, call, w, tape, features.size(2));
    return latents;
  }

  static variable_list backward(AutogradContext* context, const variable_list& upstream) {
    if (at::GradMode::is_enabled())
      throw Error("mlp_gru: expected no gradient of a gradient of unroll(), which its backward pass cannot give");
    const c10::impl::ExcludeDispatchKeyGuard exact(c10::autocast_dispatch_keyset);
    Weights w;
    Tape tape;
    load(context, w, tape);
    const bool learned = context->saved_data["learned"].toBool();
    const int64_t f = context->saved_data["features"].toInt(), units = upstream[0].size(2), tokens = upstream[0].size(1),
                  batch = upstream[0].size(0);
    const Maker make(tokens, batch, tape.input.options());
    const MlpTape before = make_gradient(w.before, make, true, learned), after = make_gradient(w.after, make, learned, learned);
    const Tensor dgates = make(learned, 3 * units), dstate = make(false, units)[0], dlast = make(learned, units);
    const Tensor dz = at::empty({tokens + 1, batch, units}, tape.input.options());  // of z before each token and after the last
    dz[0].zero_();
    dz.narrow(0, 1, tokens).copy_(upstream[0].transpose(0, 1));

    const Cells cells(w, units);
    const Tensor out_of_before = make(false, w.before.blocks.back().second.w.size(0))[0];
    const Tensor out_of_after = w.after.blocks.empty() ? dstate : make(false, width(w.after.blocks.back()))[0];
    const Tensor head_of_z = part(w.before.head.w, 0, units);
    const bool as_layers = runs_as_layers(w, tape.input);
    if (as_layers) token_layers(backward_layers(w, tape, {before, after, dgates, dlast, dz}, tokens));
    for (int64_t t = as_layers ? 0 : tokens; t-- > 0;) {
      product_into(out_of_after, dz[t + 1], w.after.last.w);
      if (!w.after.blocks.empty()) {
        ops::backward(w.after, tape.after, after, out_of_after, t);
        product_into(dstate, of(after.head, t), w.after.head.w);
        if (!has_shortcut(w.after)) dstate.add_(of(after.blocks[0].second, t));
      }
      const Tensor dhead = of(before.head, t), head = of(tape.before.head, t);
      const Tensor dx = w.before.last.w.defined() ? of(dlast, t) : out_of_before;
      for (int64_t g = cells.count; g-- > 0;) {
        const Tensor da = cells.from_input(of(dgates, t), g);
        gru_backward(cells.from_input(of(tape.gates, t), g), cells.from_state(head, g), cells.state(tape.input[t], g),
                     cells.state(dstate, g), da, cells.from_state(dhead, g), cells.state(dz[t], g));
        const Tensor& ih = w.cells[static_cast<size_t>(g)].w;
        if (g > 0)
          cells.state(dstate, g - 1).addmm_(da, ih);
        else
          product_into(dx, da, ih);
      }
      if (w.before.last.w.defined()) product_into(out_of_before, dx, w.before.last.w);
      ops::backward(w.before, tape.before, before, out_of_before, t);
      dz[t].addmm_(dhead, head_of_z);
    }

    const Tensor dfeatures = at::mm(before.head.view({-1, before.head.size(2)}), part(w.before.head.w, units, f));
    variable_list result = {{}, dfeatures.view({tokens, batch, f}).transpose(0, 1), dz[0]};
    Weights gradient = w;
    if (learned) {
      gradient.before = gradient_of(w.before, tape.before, before, tape.input.narrow(0, 0, tokens), dlast);
      for (int64_t g = 0; g < cells.count; ++g) {
        const Tensor& first = w.before.last.w.defined() ? tape.before.last : tape.before.blocks.back().out;
        gradient.cells[static_cast<size_t>(g)] =
            gradient_of(w.cells[static_cast<size_t>(g)], cells.from_input(dgates, g), g == 0 ? first : cells.state(tape.state, g - 1));
      }
      gradient.after = gradient_of(w.after, tape.after, after, tape.state, dz.narrow(0, 1, tokens));
    }
    std::vector<bool> defined;
    each(w, [&](const Tensor& x) { defined.push_back(x.defined()); });
    size_t i = 0;
    each(gradient, [&](const Tensor& x) {
      if (defined[i++]) result.push_back(learned ? x : Tensor());
    });
    return result;
  }

 private:
  static void save(AutogradContext* context, const Call& call, Weights& w, Tape& tape, int64_t features) {
    variable_list all;
    const auto add = [&](const Tensor& x) { all.push_back(x); };
    each(w, add), each(tape, add);
    context->save_for_backward(all);
    context->saved_data["learned"] = call.learned;
    context->saved_data["features"] = features;
    context->saved_data["before"] = static_cast<int64_t>(w.before.blocks.size());
    context->saved_data["cells"] = static_cast<int64_t>(w.cells.size());
    context->saved_data["after"] = static_cast<int64_t>(w.after.blocks.size());
  }
  static void load(AutogradContext* context, Weights& w, Tape& tape) {
    const auto count = [&](const char* key) { return static_cast<size_t>(context->saved_data[key].toInt()); };
    w.before.blocks.resize(count("before")), tape.before.blocks.resize(count("before"));
    w.after.blocks.resize(count("after")), tape.after.blocks.resize(count("after"));
    w.cells.resize(count("cells"));
    const auto all = context->get_saved_variables();
    size_t i = 0;
    const auto take = [&](Tensor& x) { x = all[i++]; };
    each(w, take), each(tape, take);
  }
};

Mlp merged(const MlpWeights& mlp) {
  Mlp out;
  out.last = {mlp.last, mlp.last_bias};
  for (size_t i = 0; i < mlp.residual.size(); ++i) {
    const ResidualWeights& r = mlp.residual[i];
    out.blocks.push_back({i == 0 ? Linear() : Linear{r.first, r.first_bias}, {r.second, r.second_bias}});
    if (i > 0) continue;
    out.head = {r.first, r.first_bias};
    if (r.shortcut.defined()) out.head = {at::cat({r.first, r.shortcut}), at::cat({r.first_bias, r.shortcut_bias})};
  }
  return out;
}

// `in` columns: those of z and of the features, padded to whole vectors.
Weights merged(const MlpGruWeights& weights, int64_t units, int64_t in) {
  Weights out{merged(weights.before), {}, merged(weights.after)};
  Linear& head = out.before.head;
  std::vector<Tensor> rows = {at::constant_pad_nd(head.w, {0, in - head.w.size(1)})}, biases = {head.b};
  const int64_t part = units / static_cast<int64_t>(weights.cells.size());
  for (size_t g = 0; g < weights.cells.size(); ++g) {
    const GruWeights& cell = weights.cells[g];
    const int64_t start = part * static_cast<int64_t>(g);
    rows.push_back(at::constant_pad_nd(cell.hh, {start, in - start - part}));
    biases.push_back(cell.bias_hh);
    out.cells.push_back({cell.ih, cell.bias_ih});
  }
  head = {at::cat(rows), at::cat(biases)};
  return out;
}

}  // namespace

Tensor mlp_gru_recurrence(const MlpGruWeights& weights, const Tensor& features, const Tensor& z) {
  Call call;
  call.type = Autocast::type(features.device().type(), weights.before.residual[0].first.scalar_type());
  const int64_t in = z.size(1) + features.size(2);
  call.weights = merged(weights, z.size(1), (in + 7) / 8 * 8);
  std::vector<Tensor> all;
  each(call.weights, [&](const Tensor& x) {
    if (!x.defined()) return;
    all.push_back(x);
    call.learned = call.learned || x.requires_grad();
  });
  call.learned = call.learned && at::GradMode::is_enabled();
  call.gradients = call.learned || (at::GradMode::is_enabled() && (features.requires_grad() || z.requires_grad()));
  return Recurrence::apply(call, features, z, at::TensorList(all));
}

}  // namespace df::ops
