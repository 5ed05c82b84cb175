// SPDX-License-Identifier: MIT
#include "diffusion_forcing/diffusion/loss.hpp"

#include <ATen/ATen.h>
#include <torch/autograd.h>

#include <cmath>

#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "support/support.hpp"

namespace df::test {

namespace {

constexpr int64_t B = 3, T = 4, C = 6, H = 2, L = 5, K = 100;

// z' = tanh(z Wz + x Wx + k / K + mean(c)), prediction = z' Wo: the least that has every part of the contract.
class TinyModel final : public CausalModel {
 public:
  explicit TinyModel(int64_t condition = 0) : condition_(condition) {
    wz = register_parameter("wz", 0.5 * seeded_normal({L, L}, 1));
    wx = register_parameter("wx", 0.3 * seeded_normal({C * H, L}, 2));
    wo = register_parameter("wo", 0.3 * seeded_normal({L, C * H}, 3));
  }
  TokenOutput step(const Tensor& x, const Tensor& k, const Tensor& c, const Tensor& z) override {
    rows.push_back(x.size(0));
    levels.push_back(k.clone());
    auto sum = z.matmul(wz) + x.flatten(1).matmul(wx) + k.unsqueeze(1) / static_cast<double>(K);
    if (condition_ > 0) sum = sum + c.mean(1, true);
    const auto after = sum.tanh();
    return {after.matmul(wo).view(x.sizes()), after};
  }
  Tensor initial_latent(int64_t batch, const Tensor&) override { return at::zeros({batch, L}); }
  Shape token_shape() const override { return {C, H}; }
  Shape latent_shape() const override { return {L}; }
  int64_t condition_dim() const override { return condition_; }

  Tensor wz, wx, wo;
  std::vector<int64_t> rows;   // of each call
  std::vector<Tensor> levels;  // of each call

 private:
  int64_t condition_;
};

LossInput some_input() { return {0.5 * seeded_normal({B, T, C, H}, 11), {}, {}, 0.1 * seeded_normal({B, L}, 12)}; }

DiffusionConfig config_of(Space output, Space loss, LossWeight weight) {
  DiffusionConfig config;
  config.levels = K;
  config.output = output;
  config.loss = loss;
  config.weight = weight;
  return config;
}

NoiseDraw some_draw(TrainingNoise noise = TrainingNoise::independent, uint64_t seed = 13) {
  return draw_noise(noise, K, at::zeros({B, T, C, H}), 0, make_generator(seed));
}

Tensor loss_of(const DiffusionConfig& config, TrainingNoise noise, const LossInput& input, const NoiseDraw& draw) {
  TinyModel model;
  return diffusion_forcing_loss(model, make_diffusion(config), noise, 1, input, draw).loss;
}

constexpr Space spaces[] = {Space::eps, Space::x0, Space::v};
constexpr LossWeight weights[] = {LossWeight::uniform, LossWeight::min_snr, LossWeight::fused_snr, LossWeight::cumulative_snr};

}  // namespace

TEST(DrawNoise, IndependentLevelsDifferWithinASequence) {
  const auto draw = draw_noise(TrainingNoise::independent, 7, at::zeros({400, 5, 2}), 0, make_generator(1));
  EXPECT_EQ(draw.k.min().item<int64_t>(), 1);
  EXPECT_EQ(draw.k.max().item<int64_t>(), 7);
  EXPECT_NEAR(draw.k.to(at::kDouble).mean().item<double>(), 4.0, 0.15);
  EXPECT_FALSE(at::equal(draw.k, draw.k.slice(1, 0, 1).expand({400, 5})));
  EXPECT_EQ(draw.eps.sizes(), (Shape{400, 5, 2}));
  EXPECT_NEAR(draw.eps.std().item<double>(), 1.0, 0.05);
}

TEST(DrawNoise, IsAFunctionOfTheGenerator) {
  const auto a = some_draw(), b = some_draw(), c = some_draw(TrainingNoise::independent, 14);
  EXPECT_TRUE(identical(a.k, b.k) && identical(a.eps, b.eps));
  EXPECT_FALSE(at::equal(a.eps, c.eps));
}

TEST(DrawNoise, SharedLevelsAreOneASequence) {
  const auto draw = draw_noise(TrainingNoise::shared, 1000, at::zeros({50, 5, 2}), 0, make_generator(1));
  EXPECT_TRUE(at::equal(draw.k, draw.k.slice(1, 0, 1).expand({50, 5})));
  EXPECT_GT(draw.k.select(1, 0).to(at::kDouble).std().item<double>(), 200.0);
}

TEST(DrawNoise, SharedContextIsCleanInHalfOfTheSequences) {
  const auto draw = draw_noise(TrainingNoise::shared, 1000, at::zeros({400, 5, 2}), 2, make_generator(1));
  const auto clean = draw.k.select(1, 0) == 0;
  EXPECT_TRUE(at::equal(clean, draw.k.select(1, 1) == 0));
  EXPECT_NEAR(clean.to(at::kDouble).mean().item<double>(), 0.5, 0.1);
  EXPECT_TRUE((draw.k.slice(1, 2) >= 1).all().item<bool>());
}

TEST(DrawNoise, RefusesContextThatItCannotKeepClean) {
  const auto message = [](TrainingNoise noise, int64_t context) {
    return error_of([&] { draw_noise(noise, K, at::zeros({B, T, C, H}), context, make_generator(1)); });
  };
  EXPECT_NE(message(TrainingNoise::independent, 1).find("training.context_tokens"), std::string::npos);
  EXPECT_NE(message(TrainingNoise::shared, T).find("got 4 with shared noise"), std::string::npos);
  EXPECT_NE(message(TrainingNoise::shared, -1).find("got -1"), std::string::npos);
}

TEST(Loss, IsTheWeightedSquaredErrorOfTheUnrolledModel) {
  const auto input = some_input();
  const auto draw = some_draw();
  const auto diffusion = make_diffusion(config_of(Space::v, Space::v, LossWeight::fused_snr));
  TinyModel model;
  const auto out = diffusion_forcing_loss(model, diffusion, TrainingNoise::independent, 2, input, draw);
  const auto x = add_noise(diffusion.schedule, input.x0, draw.k, draw.eps);
  auto z = input.z;
  const auto weight = loss_weight(LossWeight::fused_snr, Space::v, at_level(diffusion.schedule.snr, draw.k, draw.k), 5.0, 0.9 * 0.9);
  for (int64_t t = 0; t < T; ++t) {
    const auto token = model.step(x.select(1, t), draw.k.select(1, t), {}, z);
    z = token.z;
    const auto target = encode(Space::v, diffusion.schedule, input.x0, draw.k, draw.eps).select(1, t);
    const auto error = (token.prediction - target).square() * weight.select(1, t).view({B, 1, 1});
    EXPECT_TRUE(close(out.weighted.select(1, t), error, 1e-5)) << "token " << t;
    EXPECT_TRUE(close(out.z.select(1, t), z, 1e-6));
  }
  EXPECT_TRUE(close(out.loss, out.weighted.mean(), 1e-6));
  EXPECT_FALSE(out.x0.requires_grad());
}

TEST(Loss, SpaceOfTheLossDoesNotDependOnTheOutput) {
  // One x0 guess, given by three networks in three spaces, must cost the same in each loss space.
  const auto input = some_input();
  auto draw = some_draw();
  const auto schedule = make_noise_schedule(ScheduleKind::sigmoid, K);
  draw.k.clamp_(5, 70);
  const auto x = add_noise(schedule, input.x0, draw.k, draw.eps), guess = input.x0 + 0.3 * seeded_normal({B, T, C, H}, 20);
  class Fixed final : public CausalModel {
   public:
    Fixed(Tensor output) : output_(std::move(output)) {}
    TokenOutput step(const Tensor&, const Tensor&, const Tensor&, const Tensor& z) override { return {output_.select(1, t_++ % T), z}; }
    Tensor initial_latent(int64_t, const Tensor&) override { return {}; }
    Shape token_shape() const override { return {C, H}; }
    Shape latent_shape() const override { return {L}; }
    int64_t condition_dim() const override { return 0; }

   private:
    Tensor output_;
    int64_t t_ = 0;
  };
  const auto guess_eps = decode(Space::x0, schedule, x, draw.k, guess, 1e6).eps;
  for (const auto weight : weights)
    for (const auto loss : spaces) {
      const auto cost = [&](Space output) {
        Fixed model(encode(output, schedule, guess, draw.k, guess_eps));
        return diffusion_forcing_loss(model, make_diffusion(config_of(output, loss, weight)), TrainingNoise::independent, 1, input, draw)
            .loss;
      };
      const auto direct = cost(loss);
      for (const auto output : spaces)
        EXPECT_TRUE(close(cost(output), direct, 1e-3))
            << enum_name(weight) << ", loss " << enum_name(loss) << ", output " << enum_name(output);
    }
}

TEST(Loss, ClampsTheNoise) {
  auto config = config_of(Space::eps, Space::eps, LossWeight::uniform);
  config.clip_noise = 1.0;
  auto draw = some_draw();
  const auto clamped = NoiseDraw{draw.k, draw.eps.clamp(-1.0, 1.0)};
  const auto a = loss_of(config, TrainingNoise::independent, some_input(), draw);
  EXPECT_TRUE(identical(a, loss_of(config, TrainingNoise::independent, some_input(), clamped)));
  config.clip_noise = 20.0;
  EXPECT_FALSE(at::equal(a, loss_of(config, TrainingNoise::independent, some_input(), draw)));
}

TEST(Loss, CleanTokensCountNothingAndStayFinite) {
  auto draw = draw_noise(TrainingNoise::shared, K, at::zeros({B, T, C, H}), 0, make_generator(3));
  draw.k.slice(1, 0, 2).zero_();
  for (const auto output : spaces)
    for (const auto loss : spaces)
      for (const auto weight : weights) {
        TinyModel model;
        const auto out =
            diffusion_forcing_loss(model, make_diffusion(config_of(output, loss, weight)), TrainingNoise::shared, 1, some_input(), draw);
        ASSERT_TRUE(out.weighted.isfinite().all().item<bool>()) << enum_name(output) << enum_name(loss) << enum_name(weight);
        EXPECT_EQ(out.weighted.slice(1, 0, 2).abs().sum().item<float>(), 0.0F);
        EXPECT_GT(out.weighted.slice(1, 2).abs().sum().item<float>(), 0.0F);
        for (const auto& g : torch::autograd::grad({out.loss}, {model.wz, model.wx, model.wo}))
          EXPECT_TRUE(g.isfinite().all().item<bool>());
      }
}

TEST(Loss, MaskCoversTheChannelsOfItsFrame) {
  auto input = some_input();
  const auto draw = some_draw();
  const auto diffusion = make_diffusion(config_of(Space::x0, Space::x0, LossWeight::uniform));
  TinyModel model;
  const int64_t frames = 3, channels = C / frames;
  const auto full = diffusion_forcing_loss(model, diffusion, TrainingNoise::independent, frames, input, draw);
  input.mask = at::ones({B, T * frames});
  input.mask[1][T * frames - 1] = 0.0;  // last frame of the last token
  input.mask[2][4] = 0.0;               // frame 1 of token 1
  const auto masked = diffusion_forcing_loss(model, diffusion, TrainingNoise::independent, frames, input, draw);
  auto expected = full.weighted.detach().clone();
  expected[1][T - 1].slice(0, 2 * channels, 3 * channels).zero_();
  expected[2][1].slice(0, channels, 2 * channels).zero_();
  EXPECT_TRUE(identical(masked.weighted.detach(), expected));
  EXPECT_TRUE(close(masked.loss, expected.sum() / expected.numel(), 1e-6)) << "the mean is over all elements";
}

// The loss that is trained on is that of all the others, and so are its gradients, whatever the weights, the spaces and the mask.
TEST(Loss, OfTrainingIsTheSameByItself) {
  auto input = some_input();
  for (const bool masked : {false, true}) {
    if (masked) input.mask = (seeded_normal({B, T * 2}, 21) > 0).to(at::kFloat);
    for (const Space output : spaces)
      for (const Space loss : spaces)
        for (const TrainingNoise noise : {TrainingNoise::independent, TrainingNoise::shared, TrainingNoise::clean_history}) {
          SCOPED_TRACE(std::string(enum_name(output)) + " " + std::string(enum_name(loss)) + " " + std::string(enum_name(noise)));
          auto config = config_of(output, loss, LossWeight::fused_snr);
          config.clip_noise = 1.0;
          const auto diffusion = make_diffusion(config);
          auto draw = some_draw(noise);
          draw.k.select(1, 0).zero_();  // clean tokens count nothing
          TinyModel model;
          const auto expected = diffusion_forcing_loss(model, diffusion, noise, 2, input, draw).loss;
          const auto found = training_loss(model, diffusion, noise, 2, input, draw);
          EXPECT_TRUE(close(found, expected, 1e-5));
          const auto slopes = torch::autograd::grad({expected}, model.parameters()),
                     others = torch::autograd::grad({found}, model.parameters());
          for (size_t i = 0; i < slopes.size(); ++i) EXPECT_TRUE(close(others[i], slopes[i], 1e-4)) << i;
        }
  }
}

TEST(Loss, ConditionsReachTheModel) {
  auto input = some_input();
  input.c = seeded_normal({B, T, 2}, 30);
  TinyModel model(2);
  const auto diffusion = make_diffusion(config_of(Space::x0, Space::x0, LossWeight::uniform));
  for (const auto noise : {TrainingNoise::independent, TrainingNoise::clean_history}) {
    const auto a = diffusion_forcing_loss(model, diffusion, noise, 1, input, some_draw()).loss;
    auto other = input;
    other.c = input.c.flip(1);
    EXPECT_FALSE(at::equal(a, diffusion_forcing_loss(model, diffusion, noise, 1, other, some_draw()).loss)) << enum_name(noise);
  }
}

TEST(CleanHistory, RunsOneBatchedNoisyCallFromTheCleanLatents) {
  const auto input = some_input();
  const auto draw = some_draw(TrainingNoise::clean_history);
  const auto diffusion = make_diffusion(config_of(Space::x0, Space::x0, LossWeight::uniform));
  TinyModel model;
  const auto out = diffusion_forcing_loss(model, diffusion, TrainingNoise::clean_history, 1, input, draw);
  EXPECT_EQ(model.rows, (std::vector<int64_t>{B, B, B, B, B * T})) << "four clean calls, then all noisy tokens at once";
  for (int64_t t = 0; t < T; ++t) EXPECT_EQ(model.levels[static_cast<size_t>(t)].abs().sum().item<int64_t>(), 0);
  auto z = input.z;
  for (int64_t t = 0; t < T; ++t) {
    const auto k = draw.k.select(1, t), clean = input.x0.select(1, t);
    const auto noisy = model.step(add_noise(diffusion.schedule, clean, k, draw.eps.select(1, t)), k, {}, z);
    EXPECT_TRUE(close(out.weighted.select(1, t), 2.5 * (noisy.prediction - clean).square(), 1e-5)) << "token " << t;
    z = model.step(clean, at::zeros_like(k), {}, z).z;
    EXPECT_TRUE(close(out.z.select(1, t), z, 1e-6));
  }
}

TEST(CleanHistory, GradientsFlowThroughTheCleanChain) {
  auto input = some_input();
  input.x0.requires_grad_(true);
  input.z.requires_grad_(true);
  TinyModel model;
  const auto diffusion = make_diffusion(config_of(Space::x0, Space::x0, LossWeight::uniform));
  const auto out =
      diffusion_forcing_loss(model, diffusion, TrainingNoise::clean_history, 1, input, some_draw(TrainingNoise::clean_history));
  const auto last = out.weighted.select(1, T - 1).sum();
  const auto gradients = torch::autograd::grad({last}, {input.x0, input.z});
  for (int64_t t = 0; t < T; ++t) EXPECT_GT(gradients[0].select(1, t).abs().sum().item<float>(), 0.0F) << "token " << t;
  EXPECT_GT(gradients[1].abs().sum().item<float>(), 0.0F);
}

TEST(CleanHistory, HistoryWeightsFallBackToMinSnr) {
  const auto draw = some_draw(TrainingNoise::clean_history);
  const auto cost = [&](LossWeight weight, TrainingNoise noise) {
    return loss_of(config_of(Space::x0, Space::x0, weight), noise, some_input(), draw);
  };
  const auto plain = cost(LossWeight::min_snr, TrainingNoise::clean_history);
  EXPECT_TRUE(identical(plain, cost(LossWeight::fused_snr, TrainingNoise::clean_history)));
  EXPECT_TRUE(identical(plain, cost(LossWeight::cumulative_snr, TrainingNoise::clean_history)));
  EXPECT_FALSE(at::equal(cost(LossWeight::fused_snr, TrainingNoise::independent), cost(LossWeight::min_snr, TrainingNoise::independent)));
}

TEST(Loss, NamesWhatHasTheWrongShape) {
  TinyModel model(2);
  const auto diffusion = make_diffusion(config_of(Space::x0, Space::x0, LossWeight::uniform));
  auto good = some_input();
  good.c = at::zeros({B, T, 2});
  const auto message = [&](auto change, int64_t frame_stack = 1) {
    auto input = good;
    auto draw = some_draw();
    change(input, draw);
    return error_of([&] { diffusion_forcing_loss(model, diffusion, TrainingNoise::independent, frame_stack, input, draw); });
  };
  const auto nothing = [](auto&, auto&) {};
  EXPECT_NE(message([](auto& i, auto&) { i.x0 = at::zeros({B, T, C}); }).find("x0: expected shape [*, *, 6, 2]"), std::string::npos);
  EXPECT_NE(message([](auto&, auto& d) { d.k = at::ones({B, T + 1}, at::kLong); }).find("noise draw k"), std::string::npos);
  EXPECT_NE(message([](auto&, auto& d) { d.eps = at::zeros({B, T, C}); }).find("noise draw eps"), std::string::npos);
  EXPECT_NE(message([](auto& i, auto&) { i.z = at::zeros({L}); }).find("loss input z"), std::string::npos);
  EXPECT_NE(message([](auto& i, auto&) { i.c = Tensor(); }).find("loss input c"), std::string::npos);
  EXPECT_NE(message([](auto& i, auto&) { i.mask = at::ones({B, T + 1}); }).find("loss input mask"), std::string::npos);
  EXPECT_NE(message(nothing, 4).find("frame stack 4 does not divide"), std::string::npos);
}

}  // namespace df::test
