// SPDX-License-Identifier: MIT
// Played episodes as one page for a browser.
#pragma once

#include <string>
#include <vector>

#include "diffusion_forcing/planning/episodes.hpp"

namespace df {

// Pictures and videos that stand beside the page; empty: there is none.
struct EpisodePageFiles {
  std::string sheet, closed_loop, denoising;
};

// The pictures, a table of the environment's numbers with the best policy of each row marked, the share of episodes that have reached what
// counts by each step, what each number means, and what was run. Links to table.txt, episodes.csv and report.json beside it. Reports are
// of environments with the same numbers. Needs no media library.
std::string episode_page(const std::vector<EpisodeReport>& reports, const std::string& command, const EpisodePageFiles& files);

}  // namespace df
