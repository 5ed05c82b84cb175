// SPDX-License-Identifier: MIT
// The U-Net against the same network in plain operators: values and gradients, on the CPU's way and on the way of devices with kernels.
#include "models/plain_unet.hpp"

#include <gtest/gtest.h>
#include <torch/autograd.h>

#include <algorithm>
#include <optional>

#include "diffusion_forcing/core/seed.hpp"
#include "support/golden.hpp"
#include "support/plain_kernels.hpp"
#include "support/support.hpp"

namespace df::test {
namespace {

// Of unroll(): outputs, then gradients of the tokens, the first latent and every parameter.
std::vector<Tensor> values_and_gradients(const SequenceOutput& out, const std::vector<Tensor>& inputs) {
  std::vector<Tensor> all =
      torch::autograd::grad({out.prediction.square().sum() + out.z.sin().sum()}, inputs, {}, false, false, /*allow_unused=*/true);
  all.insert(all.begin(), {out.prediction.detach(), out.z.detach()});
  return all;
}

// Each to a share of its own size or, where that is less, of a fiftieth of the largest: with as many groups as channels a norm takes away
// the bias before it, whose gradient then is what rounding leaves of 0.
void expect_equal(const std::vector<Tensor>& found, const std::vector<Tensor>& expected) {
  constexpr double tolerance = 5e-4;
  ASSERT_EQ(found.size(), expected.size());
  const auto size = [](const Tensor& x) { return x.defined() ? x.abs().max().item<double>() : 0.0; };
  double largest = 0.0;
  for (const Tensor& x : expected) largest = std::max(largest, size(x));
  for (size_t i = 0; i < found.size(); ++i) {
    ASSERT_EQ(found[i].defined(), expected[i].defined()) << i;
    if (found[i].defined()) {
      EXPECT_LE(size(found[i] - expected[i]), tolerance * std::max(size(expected[i]), largest / 50)) << i;
    }
  }
}

void expect_oracle(const UnetGruConfig& config, CausalModel& model, int64_t tokens) {
  const PlainUnet plain(config, model);
  const Tensor x = seeded_normal(shape({2, tokens}, model.token_shape()), 1).requires_grad_();
  const Tensor z = seeded_normal(shape({2}, model.latent_shape()), 2).requires_grad_();
  const Tensor k = at::randint(1, 1001, {2, tokens}, make_generator(3), at::TensorOptions(at::kLong));
  const Tensor c = model.condition_dim() > 0 ? seeded_normal({2, tokens, model.condition_dim()}, 4) : Tensor();
  std::vector<Tensor> inputs = model.parameters();
  inputs.insert(inputs.end(), {x, z});
  const auto expected = values_and_gradients(plain.unroll(x, k, c, z), inputs);
  const ops::test::PlainKernels kernels;
  for (const bool fused : {false, true}) {
    SCOPED_TRACE(fused ? "with kernels" : "on the CPU");
    std::optional<ops::UseKernels> used;
    if (fused) used.emplace(at::kCPU, kernels.tables());
    expect_equal(values_and_gradients(model.unroll(x, k, c, z), inputs), expected);
    const at::NoGradGuard no_grad;
    const Tensor first = c.defined() ? c.select(1, 0) : c;
    const TokenOutput found = model.step(x.select(1, 0), k.select(1, 0), first, z),
                      wanted = plain.step(x.select(1, 0), k.select(1, 0), first, z);
    expect_equal({found.prediction, found.z}, {wanted.prediction, wanted.z});
  }
}

TEST(PlainUnet, IsTheAuthorsNetwork) {
  for (const auto& path : golden_models()) {
    const auto golden = load_golden_model(path);
    const auto* config = golden.config.get_if<UnetGruConfig>();
    if (!config) continue;
    SCOPED_TRACE(golden.name);
    const TokenOutput out =
        PlainUnet(*config, *golden.model).step(golden.at("call/x"), golden.level("call/t"), golden.optional("call/c"), golden.at("call/z"));
    EXPECT_TRUE(close(out.prediction, golden.at("call/model_out"), 1e-5));
    EXPECT_TRUE(close(out.z, golden.at("call/pred_z"), 1e-5));
    expect_oracle(*config, *golden.model, 2);
  }
}

TEST(PlainUnet, IsTheNetworkOfEveryConfig) {
  UnetGruConfig patched, deep;
  patched.width = 16;
  patched.latent = 4;
  patched.multipliers = {1, 2};
  patched.attention = {Attention::full, Attention::none};
  patched.middle_attention = Attention::linear;
  patched.heads = 2;
  patched.patch = 2;
  patched.stem_kernel = 3;
  patched.gru_layers = 1;
  patched.decoder_width = 8;
  deep.width = 8;
  deep.latent = 8;
  deep.blocks = 1;
  deep.multipliers = {2, 1, 3};
  deep.attention = {Attention::none, Attention::linear, Attention::full};
  deep.middle_attention = Attention::none;
  deep.decoder_width = 8;  // as many as the latent: no shortcut
  const auto of = [](const UnetGruConfig& config, const TokenSpec& spec) {
    const auto model = make(config, spec, make_generator(7));
    for (Tensor& parameter : model->parameters())  // a gain of 1 or a bias of 0 hides a mistake
      parameter.set_data(parameter.detach() + 0.1 * at::randn(parameter.sizes(), make_generator(static_cast<uint64_t>(parameter.numel()))));
    expect_oracle(config, *model, 3);
  };
  of(patched, {{3, 8, 8}, 2, {}, 1});
  of(deep, {{6, 8, 8}, 0, {}, 1});
}

}  // namespace
}  // namespace df::test
