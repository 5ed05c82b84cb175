// SPDX-License-Identifier: MIT
// The kernels that noise tokens and measure the error of their predictions, against their plain twins.
#include "ops/token_error.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/autograd.h>

#include "cuda/on_device.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/core/shape.hpp"
#include "support/support.hpp"

namespace df::test {
namespace {

using TokenErrors = KernelTest;

struct Result {
  Tensor mixed, error, gradient;
};
Result run(const ops::TokenError& given, Tensor (*mix)(const ops::TokenMix&), Tensor (*error)(const ops::TokenError&)) {
  const Tensor prediction = given.prediction.detach().requires_grad_();
  const Tensor value = error({given.target, prediction, given.weight});
  return {mix(given.target), value.detach(), torch::autograd::grad({3.0 * value}, {prediction})[0]};
}

TEST_F(TokenErrors, AreTheirTwin) {
  const int64_t cells = 37;
  for (const Shape& token : {Shape{60}, Shape{32, 6}, Shape{12, 10, 6}})
    for (const auto type : {at::kFloat, at::kBFloat16})
      for (const int64_t frames : {1, 3})
        for (const char* parts : {"x0", "eps", "both"}) {
          if (token[0] % frames != 0) continue;
          SCOPED_TRACE(fmt::format("{} {} {} {}", to_string(token), toString(type), frames, parts));
          const auto normal = [&](uint64_t seed, const Shape& sizes) { return seeded_normal(sizes, seed).to(cuda_->device()); };
          const Shape all = shape({cells}, token);
          ops::TokenError given;
          given.target.x0 = normal(1, all);
          given.target.eps = normal(2, all);
          given.target.of_x0 = normal(3, {cells});
          given.target.of_eps = normal(4, {cells});
          given.target.clip = 1.1;
          given.prediction = normal(5, all).to(type);
          given.weight = normal(6, {cells, frames}).abs();
          if (token.size() == 3) given.prediction = given.prediction.contiguous(at::MemoryFormat::ChannelsLast);
          if (parts == std::string("x0")) given.target.eps = Tensor();
          if (parts == std::string("eps")) given.target.x0 = Tensor();
          const auto found = run(given, &ops::mix_tokens, &ops::weighted_error);
          const auto expected = run(given, &ops::plain::mix_tokens, &ops::plain::weighted_error);
          EXPECT_TRUE(close(found.mixed, expected.mixed, 1e-6));
          EXPECT_TRUE(close(found.error, expected.error, 1e-5));
          EXPECT_EQ(found.gradient.strides(), given.prediction.strides());
          EXPECT_LT(relative_distance(found.gradient, expected.gradient), type == at::kFloat ? 1e-5 : 4e-3);
        }
}

}  // namespace
}  // namespace df::test
