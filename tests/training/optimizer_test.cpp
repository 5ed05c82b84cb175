// SPDX-License-Identifier: MIT
#include "diffusion_forcing/training/optimizer.hpp"

#include <ATen/ATen.h>

#include <cmath>

#include "diffusion_forcing/core/seed.hpp"
#include "support/support.hpp"

namespace df::test {

namespace {

using Named = std::vector<std::pair<std::string, Tensor>>;

OptimizerConfig plain() {
  OptimizerConfig config;
  config.clip = 0.0;
  return config;
}

Named two_parameters() { return {{"weight", seeded_normal({3, 2}, 1)}, {"bias", seeded_normal({4}, 2)}}; }
std::vector<Tensor> gradients_of_step(uint64_t n) { return {seeded_normal({3, 2}, 10 + n), seeded_normal({4}, 20 + n)}; }

}  // namespace

TEST(LearningRate, WarmsUpLinearly) {
  OptimizerConfig config;
  config.learning_rate = 1.0;
  config.warmup = 4;
  EXPECT_DOUBLE_EQ(learning_rate(config, 0, 100), 0.25);
  EXPECT_DOUBLE_EQ(learning_rate(config, 3, 100), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate(config, 99, 100), 1.0);
  config.warmup = 0;
  EXPECT_DOUBLE_EQ(learning_rate(config, 0, 100), 1.0);
}

TEST(LearningRate, FallsAlongACosine) {
  OptimizerConfig config;
  config.learning_rate = 2.0;
  config.warmup = 10;
  config.decay = Decay::cosine;
  config.final_ratio = 0.1;
  EXPECT_DOUBLE_EQ(learning_rate(config, 10, 111), 2.0);
  EXPECT_NEAR(learning_rate(config, 60, 111), 2.0 * 0.55, 1e-12);
  EXPECT_NEAR(learning_rate(config, 110, 111), 0.2, 1e-12);
  EXPECT_NEAR(learning_rate(config, 500, 111), 0.2, 1e-12) << "beyond the end it stays";
  for (int64_t n = 11; n < 111; ++n) EXPECT_LT(learning_rate(config, n, 111), learning_rate(config, n - 1, 111));
  EXPECT_TRUE(std::isfinite(learning_rate(config, 10, 11))) << "a run that ends with its warm-up";
}

TEST(AdamW, FollowsTheFormula) {
  auto config = plain();
  auto parameters = two_parameters();
  std::vector<Tensor> p, m, v;
  for (const auto& [name, tensor] : parameters) {
    p.push_back(tensor.to(at::kDouble));
    m.push_back(at::zeros_like(p.back()));
    v.push_back(at::zeros_like(p.back()));
  }
  AdamW optimizer(config, parameters);
  for (int n = 1; n <= 5; ++n) {
    auto gradients = gradients_of_step(static_cast<uint64_t>(n));
    const double rate = 0.01 * n;
    for (size_t i = 0; i < p.size(); ++i) {
      const auto g = gradients[i].to(at::kDouble);
      m[i] = config.beta1 * m[i] + (1.0 - config.beta1) * g;
      v[i] = config.beta2 * v[i] + (1.0 - config.beta2) * g * g;
      const auto m_hat = m[i] / (1.0 - std::pow(config.beta1, n)), v_hat = v[i] / (1.0 - std::pow(config.beta2, n));
      p[i] = p[i] * (1.0 - rate * config.weight_decay) - rate * m_hat / (v_hat.sqrt() + config.eps);
    }
    optimizer.step(gradients, rate);
    for (size_t i = 0; i < p.size(); ++i) ASSERT_TRUE(close(parameters[i].second, p[i], 1e-5)) << "step " << n;
  }
}

TEST(AdamW, ClipsByTheGlobalNormAndReturnsIt) {
  auto config = plain();
  auto free = two_parameters(), bound = two_parameters();
  AdamW unclipped(config, free);
  config.clip = 0.5;
  AdamW clipped(config, bound);
  auto gradients = gradients_of_step(1);
  const double norm = std::sqrt(gradients[0].square().sum().item<double>() + gradients[1].square().sum().item<double>());
  auto scaled = gradients;
  for (auto& g : scaled) g = g * (0.5 / norm);
  auto given = gradients_of_step(1);
  EXPECT_NEAR(clipped.step(given, 0.1).item<double>(), norm, 1e-5);
  EXPECT_TRUE(close(given[0], scaled[0], 1e-5)) << "changed in place";
  unclipped.step(scaled, 0.1);
  const auto a = clipped.state(), b = unclipped.state();
  for (const auto& [name, tensor] : a) EXPECT_TRUE(close(tensor, b.at(name), 1e-5)) << name;
  auto small = gradients_of_step(2);
  for (auto& g : small) g = g * 1e-3;
  const auto before = small[0].clone();
  clipped.step(small, 0.1);
  EXPECT_TRUE(identical(small[0], before)) << "norms below the bound are left alone";
}

TEST(AdamW, LeavesParametersWithoutAGradient) {
  auto parameters = two_parameters();
  AdamW optimizer(plain(), parameters);
  std::vector<Tensor> gradients{gradients_of_step(1)[0], Tensor()};
  optimizer.step(gradients, 0.1);
  EXPECT_FALSE(at::equal(parameters[0].second, two_parameters()[0].second));
  EXPECT_TRUE(identical(parameters[1].second, two_parameters()[1].second));
}

TEST(AdamW, ReadsGradientsOfAnotherMemoryLayout) {
  const auto start = seeded_normal({2, 3, 4, 5}, 1), gradient = seeded_normal({2, 3, 4, 5}, 2);
  auto plainly = start.clone(), strided = start.clone();
  AdamW a(plain(), {{"w", plainly}}), b(plain(), {{"w", strided}});
  std::vector<Tensor> ga{gradient.clone()}, gb{gradient.contiguous(at::MemoryFormat::ChannelsLast)};
  a.step(ga, 0.1);
  b.step(gb, 0.1);
  EXPECT_TRUE(identical(plainly, strided));
}

TEST(AdamW, GoesOnFromItsStateBitForBit) {
  auto whole = two_parameters();
  AdamW uninterrupted({}, whole);
  Named half;
  std::map<std::string, Tensor> state;
  for (uint64_t n = 0; n < 6; ++n) {
    if (n == 3) {
      for (const auto& [name, tensor] : whole) half.emplace_back(name, tensor.clone());
      state = uninterrupted.state();
    }
    auto gradients = gradients_of_step(n);
    uninterrupted.step(gradients, 0.01);
  }
  AdamW resumed({}, half);
  resumed.load_state(state);
  for (uint64_t n = 3; n < 6; ++n) {
    auto gradients = gradients_of_step(n);
    resumed.step(gradients, 0.01);
  }
  for (size_t i = 0; i < whole.size(); ++i) EXPECT_TRUE(identical(whole[i].second, half[i].second)) << whole[i].first;
}

TEST(AdamW, ListsEverythingWrongWithAState) {
  AdamW optimizer({}, two_parameters());
  auto state = optimizer.state();
  state["weight.exp_avg"] = at::zeros({2, 3});
  state.erase("bias.exp_avg_sq");
  state["other"] = at::zeros({});
  const auto message = error_of([&] { optimizer.load_state(state); });
  EXPECT_NE(message.find("shape of weight.exp_avg: expected [3, 2], got [2, 3]"), std::string::npos) << message;
  EXPECT_NE(message.find("missing: bias.exp_avg_sq"), std::string::npos) << message;
  EXPECT_NE(message.find("unexpected: other"), std::string::npos) << message;
}

TEST(AdamW, RefusesBadInput) {
  AdamW optimizer({}, two_parameters());
  std::vector<Tensor> one{at::zeros({3, 2})}, crooked{at::zeros({2, 3}), at::zeros({4})};
  EXPECT_NE(error_of([&] { optimizer.step(one); }).find("expected 2 gradients, got 1"), std::string::npos);
  EXPECT_NE(error_of([&] { optimizer.step(crooked); }).find("gradient of weight: expected shape [3, 2]"), std::string::npos);
  EXPECT_NE(error_of([] { AdamW({}, Named{}); }).find("no parameters"), std::string::npos);
  OptimizerConfig config;
  config.beta2 = 1.0;
  EXPECT_EQ(error_of([&] { validate(config); }), "training.beta2: expected a number in [0, 1), got 1");
}

}  // namespace df::test
