// SPDX-License-Identifier: MIT
// D4RL's maze2d walks as sequences for a planner: windows of one long walk.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "diffusion_forcing/core/enum_names.hpp"
#include "diffusion_forcing/data/dataset.hpp"
#include "diffusion_forcing/maze2d/maze2d_source.hpp"

namespace df {

class PlanningDomain;

enum class Maze2dNormalizer {
  published,  // means and deviations of D4RL's data, as Diffusion Forcing's configurations have them
  data,       // of the training rows
};
template <>
struct EnumNames<Maze2dNormalizer> {
  static constexpr std::pair<std::string_view, Maze2dNormalizer> table[] = {{"published", Maze2dNormalizer::published},
                                                                            {"data", Maze2dNormalizer::data}};
};

// The section `data` with `type: maze2d`.
struct Maze2dDataConfig : Maze2dSource {
  static constexpr const char* type = "maze2d";
  int64_t horizon = 300;     // frames of a window
  int64_t frame_stack = 10;  // frames a token; divides `horizon`
  bool reward = false;       // a seventh number a frame, for planners that are guided by the model's own estimate
  Maze2dNormalizer normalizer = Maze2dNormalizer::published;
  std::vector<double> action_std;  // replaces the normaliser's, two numbers; empty: does not
  double held_out = 0.02;          // share of the walk, at its end, kept for validation
  template <class V>
  void visit(V&& v) {
    Maze2dSource::visit(v);
    v("horizon", horizon, "frames of a window");
    v("frame_stack", frame_stack, "frames a token");
    v("reward", reward, "a seventh number a frame: the reward of its observation");
    v("normalizer", normalizer, "published: D4RL's statistics; data: those of the rows");
    v("action_std", action_std, "two numbers in place of the normaliser's, or none");
    v("held_out", held_out, "share of the walk kept for validation");
  }
};

// Window i is rows i .. i + horizon - 1 of its split. Frame f holds the observation after row i + f and that row's action, 6 numbers, and,
// if asked for, the reward of that observation; the last frame's observation and reward are not part of the window: they are zero before
// normalisation, and the frame's mask is 0. init is row i's observation. Entries of frames and init are (raw - DataSpec::frame_mean) /
// DataSpec::frame_std.
std::shared_ptr<const Dataset> make(const Maze2dDataConfig& config, Split split);
// What planners may know of these data: a Maze2dDomain.
std::shared_ptr<const PlanningDomain> planning_domain(const Maze2dDataConfig& config);

// Mean and deviation of the entries of a frame.
struct FrameNormalizer {
  std::vector<double> mean, std;
};
// That of a configuration whose rows need not be read: nothing with normalizer `data`.
std::optional<FrameNormalizer> known_normalizer(const Maze2dDataConfig& config);

}  // namespace df
