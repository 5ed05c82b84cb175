// SPDX-License-Identifier: MIT
// A team whose ranks are threads of one process.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "diffusion_forcing/core/team.hpp"

namespace df::test {

// Calls work(team) on `ranks` threads, each with its own rank of one team. A rank whose work returns or throws leaves the team; a call of
// another rank that waits for it then throws df::Error "rank 1 has left the team". Returns what each rank threw, "" where it returned.
std::vector<std::string> run_team(int64_t ranks, const std::function<void(const std::shared_ptr<const Team>& team)>& work);

}  // namespace df::test
