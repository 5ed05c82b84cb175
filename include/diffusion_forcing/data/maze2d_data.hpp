// SPDX-License-Identifier: MIT
// D4RL's maze2d walks as sequences for a planner: windows of one long walk.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "diffusion_forcing/core/enum_names.hpp"
#include "diffusion_forcing/data/d4rl_file.hpp"
#include "diffusion_forcing/data/dataset.hpp"

namespace df {

enum class Maze2dNormalizer {
  published,  // means and deviations of D4RL's data, as Diffusion Forcing's configurations have them
  data,       // of the training rows
};
template <>
struct EnumNames<Maze2dNormalizer> {
  static constexpr std::pair<std::string_view, Maze2dNormalizer> table[] = {{"published", Maze2dNormalizer::published},
                                                                            {"data", Maze2dNormalizer::data}};
};

struct Maze2dDataConfig {
  static constexpr const char* type = "maze2d";
  std::string task = "maze2d-umaze-v1";  // see maze2d_tasks()
  std::string path;                      // an HDF5 file of D4RL's form; empty: data are generated and kept in `cache`
  std::string cache;                     // folder; empty: $XDG_CACHE_HOME/diffusion_forcing, else ~/.cache/diffusion_forcing
  int64_t rows = 0;                      // generated, 0: D4RL's number; of a file the first so many, 0: all
  uint64_t seed = 0;                     // of the generator
  int64_t horizon = 300;                 // frames of a window
  int64_t frame_stack = 10;              // frames a token; divides `horizon`
  Maze2dNormalizer normalizer = Maze2dNormalizer::published;
  std::vector<double> action_std;  // replaces the normaliser's, two numbers; empty: does not
  double held_out = 0.02;          // share of the walk, at its end, kept for validation
  template <class V>
  void visit(V&& v) {
    v("task", task, "D4RL's id of the maze");
    v("path", path, "HDF5 file of D4RL's form; empty: generated data");
    v("cache", cache, "folder for generated data; empty: that of the user");
    v("rows", rows, "rows to generate or to use, 0: all of D4RL's or of the file");
    v("seed", seed, "of the generated data");
    v("horizon", horizon, "frames of a window");
    v("frame_stack", frame_stack, "frames a token");
    v("normalizer", normalizer, "published: D4RL's statistics; data: those of the rows");
    v("action_std", action_std, "two numbers in place of the normaliser's, or none");
    v("held_out", held_out, "share of the walk kept for validation");
  }
};

// Window i is rows i .. i + horizon - 1 of its split. Frame f holds the observation after row i + f and that row's action, 6 numbers; the
// last frame's observation is not part of the window: it is zero before normalisation, and the frame's mask is 0. init is row i's
// observation. Entries of frames and init are (raw - DataSpec::frame_mean) / DataSpec::frame_std.
std::shared_ptr<const Dataset> make(const Maze2dDataConfig& config, Split split);

// The rows behind a configuration: read, or generated on first use (a minute at most) and read from the cache later.
OfflineData load_maze2d(const Maze2dDataConfig& config);

}  // namespace df
