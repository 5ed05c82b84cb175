// SPDX-License-Identifier: MIT
// The registry of data sets: a new one is a file pair and a name here.
#pragma once

#include <memory>
#include <variant>

#include "diffusion_forcing/data/teco_npz.hpp"
#include "diffusion_forcing/data/video_folder.hpp"
#include "diffusion_forcing/maze2d/maze2d_data.hpp"
#include "diffusion_forcing/maze2d/maze2d_paths.hpp"
#include "diffusion_forcing/maze_world/maze_video.hpp"

namespace df {

using DataConfig = std::variant<MazeVideoConfig, VideoFolderConfig, TecoNpzConfig, Maze2dDataConfig, Maze2dPathsConfig>;

std::shared_ptr<const Dataset> make_dataset(const DataConfig& config, Split split);

// Where the rows of a maze's data set come from; null for other data.
const Maze2dSource* maze2d_source(const DataConfig& config);

}  // namespace df
