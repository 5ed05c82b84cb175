// SPDX-License-Identifier: MIT
#include "diffusion_forcing/config/types.hpp"

#include <utility>

#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/data/teco_npz.hpp"
#include "diffusion_forcing/data/video_folder.hpp"
#include "diffusion_forcing/maze2d/diffuser_planner.hpp"
#include "diffusion_forcing/maze2d/forcing_planner.hpp"
#include "diffusion_forcing/maze2d/maze2d_data.hpp"
#include "diffusion_forcing/maze2d/maze2d_paths.hpp"
#include "diffusion_forcing/maze2d/maze2d_task_family.hpp"
#include "diffusion_forcing/maze_world/maze_video.hpp"
#include "diffusion_forcing/models/mlp_gru.hpp"
#include "diffusion_forcing/models/temporal_unet.hpp"
#include "diffusion_forcing/models/unet_gru.hpp"

namespace df {

const Types& builtin_types() {
  static const Types all = [] {
    Types types;
    types.data.add<MazeVideoConfig>();
    types.data.add<VideoFolderConfig>();
    types.data.add<TecoNpzConfig>();
    types.data.add<Maze2dDataConfig>();
    types.data.add<Maze2dPathsConfig>();
    types.models.add<UnetGruConfig>();
    types.models.add<MlpGruConfig>();
    types.models.add<TemporalUnetConfig>();
    types.planners.add<ForcingPlannerConfig>();
    types.planners.add<DiffuserPlannerConfig>();
    types.tasks.push_back(maze2d_task_family());
    return types;
  }();
  return all;
}

std::shared_ptr<const Dataset> make_dataset(const DataConfig& config, Split split) { return config->dataset(split); }

std::shared_ptr<CausalModel> make_model(const ModelConfig& config, const TokenSpec& spec, uint64_t seed) {
  return config->model(spec, make_generator(derive_seed(seed, Stream::weights)));
}

}  // namespace df
