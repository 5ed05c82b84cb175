// SPDX-License-Identifier: MIT
#include "diffusion_forcing/maze2d/maze2d_domain.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/maze2d/diffuser_planner.hpp"
#include "diffusion_forcing/maze2d/forcing_planner.hpp"
#include "diffusion_forcing/maze2d/maze2d_paths.hpp"

namespace df {

namespace {

bool equal(const std::vector<double>& a, const std::vector<double>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](double x, double y) { return std::abs(x - y) <= 1e-9 * (1 + std::abs(x)); });
}

}  // namespace

Maze2dDomain::Maze2dDomain(Maze2dSource source, std::string usual_planner, std::optional<FrameNormalizer> normalizer)
    : source_(std::move(source)), usual_planner_(std::move(usual_planner)), normalizer_(std::move(normalizer)) {}

Maze2dDomain::Maze2dDomain(std::shared_ptr<const TravelMap> ways) : usual_planner_(ForcingPlannerConfig::type), ways_(std::move(ways)) {}

void Maze2dDomain::check(const DataSpec& spec, const std::string& weights) const {
  if (!normalizer_) return;
  const auto check_equal = [&](const char* what, const std::vector<double>& of_config, const std::vector<double>& of_run) {
    if (!equal(of_config, of_run))
      throw Error(fmt::format("{}: trained with the {} [{}] of a frame; expected those of data.task and data.normalizer, [{}]", weights,
                              what, fmt::join(of_run, ", "), fmt::join(of_config, ", ")));
  };
  check_equal("means", normalizer_->mean, spec.frame_mean);
  check_equal("deviations", normalizer_->std, spec.frame_std);
}

std::shared_ptr<const TravelMap> Maze2dDomain::ways() const {
  const std::scoped_lock lock(mutex_);
  if (!ways_) ways_ = std::make_shared<const TravelMap>(load_maze2d(source_).observations);
  return ways_;
}

std::shared_ptr<const PlanningDomain> planning_domain(const Maze2dDataConfig& config) {
  return std::make_shared<Maze2dDomain>(config, ForcingPlannerConfig::type, known_normalizer(config));
}

std::shared_ptr<const PlanningDomain> planning_domain(const Maze2dPathsConfig& config) {
  return std::make_shared<Maze2dDomain>(config, DiffuserPlannerConfig::type);
}

}  // namespace df
