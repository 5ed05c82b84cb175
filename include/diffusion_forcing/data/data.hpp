// SPDX-License-Identifier: MIT
// The registry of data sets: a new one is a file pair and a name here.
#pragma once

#include <memory>
#include <variant>

#include "diffusion_forcing/data/maze2d_data.hpp"
#include "diffusion_forcing/data/maze2d_paths.hpp"
#include "diffusion_forcing/data/maze_video.hpp"
#include "diffusion_forcing/data/teco_npz.hpp"
#include "diffusion_forcing/data/video_folder.hpp"

namespace df {

using DataConfig = std::variant<MazeVideoConfig, VideoFolderConfig, TecoNpzConfig, Maze2dDataConfig, Maze2dPathsConfig>;

std::shared_ptr<const Dataset> make_dataset(const DataConfig& config, Split split);

}  // namespace df
