// SPDX-License-Identifier: MIT
// Where maze2d rows come from: D4RL's own file, or the generator and its cache.
#pragma once

#include <cstdint>
#include <string>

#include "diffusion_forcing/data/dataset.hpp"
#include "diffusion_forcing/maze2d/d4rl_file.hpp"
#include "diffusion_forcing/maze2d/maze2d_task.hpp"

namespace df {

// Which rows a data set of a maze is cut from.
struct Maze2dSource {
  std::string task = "maze2d-umaze-v1";  // see maze2d_tasks()
  std::string path;                      // an HDF5 file of D4RL's form; empty: data are generated and kept in `cache`
  std::string cache;                     // folder; empty: $XDG_CACHE_HOME/diffusion_forcing, else ~/.cache/diffusion_forcing
  int64_t rows = 0;                      // generated, 0: D4RL's number; of a file the first so many, 0: all
  uint64_t seed = 0;                     // of the generator
  template <class V>
  void visit(V&& v) {
    v("task", task, "D4RL's id of the maze");
    v("path", path, "HDF5 file of D4RL's form; empty: generated data");
    v("cache", cache, "folder for generated data; empty: that of the user");
    v("rows", rows, "rows to generate or to use, 0: all of D4RL's or of the file");
    v("seed", seed, "of the generated data");
  }
  std::string name() const { return path.empty() ? task : path; }  // for messages
};

// Throws df::Error naming data.task and the known ids.
const Maze2dTask& task_of(const Maze2dSource& source);

// The rows: read, or generated on first use (a minute at most) and read from the cache later. Throws df::Error naming the key or the file.
OfflineData load_maze2d(const Maze2dSource& source);

// Rows of a split: the last `held_out` share, rounded up, is for validation. Throws df::Error naming data.held_out unless 0 <= held_out
// < 1.
struct RowRange {
  int64_t begin = 0, end = 0;
};
// The rows of a split: the last share `held_out` is for validation.
RowRange split_rows(int64_t rows, double held_out, Split split);

}  // namespace df
