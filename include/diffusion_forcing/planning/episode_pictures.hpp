// SPDX-License-Identifier: MIT
// Episodes as pictures and videos of any environment that can be drawn. Needs libdiffusion_forcing_media.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "diffusion_forcing/planning/environment.hpp"
#include "diffusion_forcing/planning/episodes.hpp"

namespace df {

// The first `episodes` side by side, a row a report (one report alone: four a row): the plan made at the start, what happened, and the
// environment's caption. `width` of one picture, nearly. Reports are of this environment. Throws df::Error where there are none, or where
// the environment has no pictures.
Tensor draw_episodes(const Environment& environment, const std::vector<EpisodeReport>& reports, int64_t episodes = 8, int64_t width = 240);

// Size and speed of a video.
struct EpisodeVideoOptions {
  int64_t width = 400;  // of one picture, nearly
  double fps = 25.0;
};

// The closed loop of one episode, reports side by side: a frame every `every` steps, with the plan that is being followed. By the name's
// ending, as create_video.
void write_closed_loop_video(const std::filesystem::path& path, const Environment& environment, const std::vector<EpisodeReport>& reports,
                             int64_t episode, int64_t every, const EpisodeVideoOptions& options = {});

// A plan of one world while it is denoised: rows [M, F, places] of clean or noisy places (EnvironmentSpec::place), a frame a row.
void write_denoising_video(const std::filesystem::path& path, const Environment& environment, const Tensor& rows, const Episode& episode,
                           const EpisodeVideoOptions& options = {});

}  // namespace df
