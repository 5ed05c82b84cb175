// SPDX-License-Identifier: MIT
// Tokens and frames: one is the other, in the layout of the data set.
#include "diffusion_forcing/planning/frame_codec.hpp"

#include <ATen/ATen.h>
#include <torch/autograd.h>

#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/maze2d/maze2d_data.hpp"
#include "support/support.hpp"

namespace df {
namespace {

using test::close;
using test::error_of;

DataSpec spec_of(int64_t frame_size, int64_t frame_stack = 3) {
  DataSpec spec;
  spec.token.token_shape = {frame_stack * frame_size};
  spec.token.frame_stack = frame_stack;
  for (int64_t d = 0; d < frame_size; ++d) {
    spec.frame_mean.push_back(0.5 * static_cast<double>(d) - 1);
    spec.frame_std.push_back(0.5 + 0.25 * static_cast<double>(d));
  }
  return spec;
}

constexpr FrameSizes sizes{4, 2};

}  // namespace

TEST(FrameCodec, TokensAreFramesNormalisedEntryByEntry) {
  for (const int64_t D : {6, 7}) {
    const FrameCodec codec(spec_of(D), sizes);
    EXPECT_EQ(codec.frame_size(), D);
    EXPECT_EQ(codec.has_reward(), D == 7);
    const Tensor x = seeded_normal({2, 4, 3 * D}, 1), frames = codec.frames(x);
    ASSERT_EQ(frames.sizes(), (at::IntArrayRef{2, 12, D}));
    for (const auto& [b, t, f, d] : {std::array<int64_t, 4>{0, 0, 0, 0}, {1, 3, 2, 5}, {0, 2, 1, D - 1}}) {
      const double raw = x[b][t][f * D + d].item<double>() * (0.5 + 0.25 * static_cast<double>(d)) + 0.5 * static_cast<double>(d) - 1;
      EXPECT_NEAR(frames[b][t * 3 + f][d].item<double>(), raw, 1e-6);
    }
    EXPECT_TRUE(close(codec.tokens(frames), x, 1e-6));
    const Tensor raw = seeded_normal({1, 4}, 2);
    EXPECT_TRUE(
        close(codec.observation(raw), codec.tokens(at::cat({raw, at::zeros({1, D - 4})}, 1).expand({1, 3, D})).slice(2, 0, 4)[0], 1e-6));
  }
  const FrameCodec codec(spec_of(6), sizes);
  EXPECT_EQ(codec.frame_stack(), 3);
  EXPECT_EQ(codec.tokens_for(1), 1);
  EXPECT_EQ(codec.tokens_for(3), 1);
  EXPECT_EQ(codec.tokens_for(4), 2);
}

TEST(FrameCodec, GradientsAreTheDeviations) {
  const FrameCodec codec(spec_of(6), sizes);
  const Tensor x = seeded_normal({1, 2, 18}, 1).requires_grad_(true);
  const Tensor gradient = torch::autograd::grad({codec.frames(x).sum()}, {x})[0];
  EXPECT_TRUE(close(gradient, at::tensor(spec_of(6).frame_std, at::kFloat).repeat({1, 2, 3}), 1e-6));
}

TEST(FrameCodec, DecodesTheDataSet) {
  const test::TemporaryFolder folder;
  Maze2dDataConfig config;
  config.cache = folder.path().string();
  config.rows = 500;
  config.horizon = 60;
  config.held_out = 0;
  config.reward = true;
  const auto set = make(config, Split::train);
  const OfflineData data = load_maze2d(config);
  const FrameCodec codec(set->spec(), sizes);
  const Batch window = set->get(40);
  const Tensor frames = codec.frames(window.x.unsqueeze(0))[0].slice(0, 0, 59);
  EXPECT_TRUE(close(frames.slice(1, 0, 4), data.observations.slice(0, 41, 100), 1e-5));
  EXPECT_TRUE(close(frames.slice(1, 4, 6), data.actions.slice(0, 40, 99), 1e-5));
  EXPECT_LT((frames.select(1, 6) - data.rewards.slice(0, 41, 100)).abs().max().item<double>(), 1e-5);
  EXPECT_TRUE(close(codec.observation(data.observations.slice(0, 40, 41))[0], window.init, 1e-6));
}

TEST(FrameCodec, WhatIsNoFrameIsNamed) {
  const auto error = [](const DataSpec& spec) { return error_of([&] { FrameCodec(spec, sizes); }); };
  const std::string numbers =
      "planner: expected frames of 6 numbers (observation, action), or 7 with a reward, each with mean and deviation; got ";
  EXPECT_EQ(error({}), numbers + "0");
  EXPECT_EQ(error(spec_of(5)), numbers + "5");
  DataSpec spec = spec_of(6);
  spec.token.token_shape = {20};
  EXPECT_EQ(error(spec), "planner: expected tokens of 3 frames of 6 numbers, got [20]");
  spec.token.token_shape = {3, 6};
  EXPECT_EQ(error(spec), "planner: expected tokens of 3 frames of 6 numbers, got [3, 6]");
  spec = spec_of(6);
  spec.frame_std.pop_back();
  EXPECT_EQ(error(spec), "planner: expected a mean and a deviation for each of 6 numbers, got 5 deviations");
  const FrameCodec codec(spec_of(6), sizes);
  EXPECT_EQ(error_of([&] { codec.frames(at::zeros({2, 4, 21})); }), "planned tokens: expected shape [*, *, 18], got [2, 4, 21]");
  EXPECT_EQ(error_of([&] { codec.tokens(at::zeros({2, 6, 7})); }), "planned frames: expected shape [*, *, 6], got [2, 6, 7]");
  EXPECT_EQ(error_of([&] { codec.tokens(at::zeros({2, 7, 6})); }), "planned frames: expected a multiple of the 3 frames of a token, got 7");
  EXPECT_EQ(error_of([&] { codec.observation(at::zeros({2, 6})); }), "observation: expected shape [*, 4], got [2, 6]");
}

}  // namespace df
