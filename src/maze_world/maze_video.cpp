// SPDX-License-Identifier: MIT
#include "diffusion_forcing/maze_world/maze_video.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "core/require.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/data/video_tokens.hpp"

namespace df {

namespace {

constexpr int64_t kActions = 3;
constexpr double kMean = 0.5, kStd = 0.5;

class MazeVideo final : public Dataset {
 public:
  MazeVideo(const MazeVideoConfig& config, Split split) : config_(config), split_(split) {
    const Require require("data");
    require.at_least("height", config.height, 8);
    require.at_least("width", config.width, 8);
    require.at_least("frame_stack", config.frame_stack, 1);
    require.at_least("frames", config.frames, 1);
    require.at_least("clips", config.clips, 1);
    if (config.frames % config.frame_stack != 0)
      throw Error(fmt::format("data.frames: expected a multiple of frame_stack {}, got {}", config.frame_stack, config.frames));
    MazeWorld(config.world, 0);  // throws where the world's keys are wrong
  }

  DataSpec spec() const override {
    DataSpec spec;
    spec.token.token_shape = {3 * config_.frame_stack, config_.height, config_.width};
    spec.token.condition_dim = config_.actions ? kActions * config_.frame_stack : 0;
    spec.token.frame_stack = config_.frame_stack;
    spec.tokens = config_.frames / config_.frame_stack;
    spec.mean = kMean;
    spec.std = kStd;
    return spec;
  }

  int64_t size() const override { return split_ == Split::train ? config_.clips : std::max<int64_t>(config_.clips / 10, 64); }

  Batch get(int64_t index, int64_t tokens) const override {
    if (index < 0 || index >= size()) throw Error(fmt::format("maze_video: expected an index in 0..{}, got {}", size() - 1, index));
    if (tokens < 0) throw Error(fmt::format("maze_video: expected at least one token, got {}", tokens));
    const int64_t count = tokens == 0 ? config_.frames : tokens * config_.frame_stack;
    const uint64_t seed =
        derive_seed(config_.seed, {static_cast<uint64_t>(Stream::data), static_cast<uint64_t>(split_), static_cast<uint64_t>(index)});
    const MazeWorld world(config_.world, seed);
    std::vector<Pose> walk;
    std::vector<MazeAction> actions;
    world.walk(seed, count, walk, actions);

    Batch clip;
    Tensor frames = at::empty({count, 3, config_.height, config_.width}, at::kFloat);
    clip.facts = at::empty({count, 3}, at::kFloat);
    for (int64_t f = 0; f < count; ++f) {
      const Pose& pose = walk[static_cast<size_t>(f)];
      world.render(pose, config_.height, config_.width, frames.mutable_data_ptr<float>() + f * 3 * config_.height * config_.width);
      const float values[] = {pose.x, pose.y, pose.heading};
      std::copy(std::begin(values), std::end(values), clip.facts.mutable_data_ptr<float>() + 3 * f);
    }
    // As frames_to_tokens, but in place and in this thread: loader workers must not start teams of threads of their own.
    float* values = frames.mutable_data_ptr<float>();
    for (int64_t i = 0; i < frames.numel(); ++i) values[i] = (values[i] - static_cast<float>(kMean)) / static_cast<float>(kStd);
    clip.x = frames.view({count / config_.frame_stack, 3 * config_.frame_stack, config_.height, config_.width});
    if (config_.actions) {
      Tensor one_hot = at::zeros({count, kActions}, at::kFloat);
      for (int64_t f = 0; f < count; ++f)
        one_hot.mutable_data_ptr<float>()[f * kActions + static_cast<int64_t>(actions[static_cast<size_t>(f)])] = 1;
      clip.c = actions_to_condition(one_hot, config_.frame_stack);
    }
    return clip;
  }

  std::string describe() const override {
    return fmt::format("maze_video: {} {} clips of {} frames, {} x {}, {} x {} rooms, {} districts, {}{}", size(), enum_name(split_),
                       config_.frames, config_.height, config_.width, config_.world.cells, config_.world.cells, config_.world.districts,
                       config_.world.textured ? "textured" : "flat", config_.actions ? ", with actions" : "");
  }

 private:
  MazeVideoConfig config_;
  Split split_;
};

}  // namespace

std::shared_ptr<const Dataset> make(const MazeVideoConfig& config, Split split) { return std::make_shared<MazeVideo>(config, split); }

}  // namespace df
