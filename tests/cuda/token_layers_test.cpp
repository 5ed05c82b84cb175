// SPDX-License-Identifier: MIT
// Kernels that run a network over all tokens against plain operators, and the MLP-GRU on them.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/autograd.h>

#include "core/autocast.hpp"
#include "cuda/on_device.hpp"
#include "diffusion_forcing/config/roles.hpp"
#include "diffusion_forcing/core/accelerator.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/models/mlp_gru.hpp"
#include "ops/kernels.hpp"
#include "ops/token_layers.hpp"
#include "support/support.hpp"

namespace df::test {
namespace {

using TokenLayersOnDevice = KernelTest;

// The device's kernel for whatever it can run, whether or not it is faster there.
class AtOnce final : public ops::TokenLayerKernels {
 public:
  explicit AtOnce(const ops::TokenLayerKernels& own) : own_(own) {}
  bool faster(at::ScalarType type, int64_t) const override { return type == at::kBFloat16; }
  void token_layers(const ops::TokenLayers& network) const override { own_.token_layers(network); }

 private:
  const ops::TokenLayerKernels& own_;
};

// x <- gelu of two layers of x, token after token; the same tensors in another type and place.
ops::TokenLayers two_layers(int64_t rows, int64_t inputs, int64_t columns, int64_t tokens, const Tensor& state, const Tensor& hidden) {
  const auto normal = [&](at::IntArrayRef sizes, uint64_t seed, double scale) {
    return (seeded_normal(sizes.vec(), seed) * scale).to(at::kBFloat16).to(state.options());
  };
  const auto scale = [](int64_t n) { return 1.0 / std::sqrt(static_cast<double>(n)); };
  ops::TokenLayers net;
  net.tokens = tokens;
  const auto dense = ops::TokenLayer::Kind::dense;
  net.layers.push_back({dense,
                        state.narrow(0, 0, tokens),
                        normal({columns, inputs}, 1, scale(inputs)),
                        normal({columns}, 2, 0.3),
                        normal({tokens, rows, columns}, 3, 0.5),
                        normal({tokens, rows, columns}, 4, 1.0),
                        hidden,
                        {}});
  net.layers.push_back({dense,
                        hidden,
                        normal({inputs, columns}, 5, scale(columns)),
                        {},
                        {},
                        {},
                        at::zeros_like(state.narrow(0, 0, tokens)),
                        state.narrow(0, 1, tokens)});
  return net;
}

TEST_F(TokenLayersOnDevice, TwoLayersAreThoseOfPlainOperators) {
  struct Case {
    int64_t rows, inputs, columns, tokens;
  };
  for (const Case& c : {Case{1, 8, 8, 2}, Case{32, 224, 2432, 4}, Case{17, 1024, 1024, 5}, Case{64, 2432, 128, 3}, Case{100, 40, 1048, 3},
                        Case{300, 128, 384, 2}}) {
    SCOPED_TRACE(::testing::Message() << c.rows << " rows, " << c.inputs << " -> " << c.columns);
    const Tensor start = seeded_normal({c.rows, c.inputs}, 7).to(at::kBFloat16);
    const auto run = [&](at::TensorOptions options, auto f) {
      const Tensor state = at::zeros({c.tokens + 1, c.rows, c.inputs}, options), hidden = at::zeros({1, c.rows, c.columns}, options);
      state[0].copy_(start);
      f(two_layers(c.rows, c.inputs, c.columns, c.tokens, state, hidden));
      return state.to(at::kCPU, at::kDouble);
    };
    const auto on_device = at::TensorOptions(at::kBFloat16).device(cuda_->device());
    const Tensor all = run(on_device, [](const ops::TokenLayers& net) {
      EXPECT_TRUE(ops::token_layers_fused(net));
      ops::token_layers(net);
    });
    EXPECT_LT(relative_distance(all, run(at::TensorOptions(at::kDouble), ops::plain::token_layers)), 1e-2);
    EXPECT_TRUE(at::equal(all, run(on_device, ops::token_layers))) << "does not repeat";
  }
}

struct Row {
  Tensor prediction, z, gradient;
};

TEST_F(TokenLayersOnDevice, GuidedRowsAreThoseOfOperators) {
  struct Case {
    int64_t width, latent, batch, tokens;
  };
  for (const Case& c : {Case{4, 16, 3, 3}, Case{32, 128, 32, 20}, Case{32, 128, 1, 6}, Case{16, 128, 64, 6}, Case{32, 128, 100, 4}}) {
    SCOPED_TRACE(::testing::Message() << "width " << c.width << ", batch " << c.batch << ", tokens " << c.tokens);
    MlpGruConfig config;
    config.width = c.width;
    config.latent = c.latent;
    const auto model = make_model(config, {{60}, 0, {}, 10}, 1);
    model->to(cuda_->device());
    for (Tensor parameter : model->parameters()) parameter.requires_grad_(false);
    const Tensor x = seeded_normal({c.batch, c.tokens, 60}, 3).to(cuda_->device()).requires_grad_(true);
    const Tensor z = seeded_normal({c.batch, c.latent}, 4).to(cuda_->device());
    const Tensor k = at::full({c.batch, c.tokens}, 500, x.options().dtype(at::kLong).requires_grad(false));
    const AtOnce at_once(*ops::kernels(cuda_->device()).token_layers);
    const auto row = [&](const ops::TokenLayerKernels* kernels) {  // null: operator after operator
      ops::Kernels tables = ops::kernels(cuda_->device());
      tables.token_layers = kernels;
      const ops::UseKernels used(cuda_->device(), tables);
      Row out;
      Tensor total;
      {
        const Autocast autocast(x.device().type(), true, true);
        const auto sequence = model->unroll(x, k, {}, z);
        out = {sequence.prediction.detach(), sequence.z.detach(), {}};
        total = sequence.prediction.to(at::kFloat).square().sum() + sequence.z.to(at::kFloat).sin().sum();
      }
      out.gradient = torch::autograd::grad({total}, {x})[0];
      return out;
    };
    const auto stream = cuda_->use_stream();
    const Row expected = row(nullptr);
    const Row eager = row(&at_once);
    EXPECT_LT(relative_distance(eager.z, expected.z), 1e-2);
    EXPECT_LT(relative_distance(eager.prediction, expected.prediction), 1e-2);
    EXPECT_LT(relative_distance(eager.gradient, expected.gradient), 3e-2);
    EXPECT_FALSE(at::equal(eager.z, expected.z)) << "in rounding at least";
    Row recorded;
    const auto graph = cuda_->capture([&] { recorded = row(&at_once); });
    for (int replay = 0; replay < 2; ++replay) {
      graph->replay();
      EXPECT_TRUE(at::equal(recorded.z, eager.z)) << "replay " << replay;
      EXPECT_TRUE(at::equal(recorded.gradient, eager.gradient)) << "replay " << replay;
    }
  }
}

}  // namespace
}  // namespace df::test
