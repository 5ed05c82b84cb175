// SPDX-License-Identifier: MIT
// What planners may know of a maze's data: its task, its units, the ways that were driven in it.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "diffusion_forcing/maze2d/maze2d_data.hpp"
#include "diffusion_forcing/maze2d/maze2d_source.hpp"
#include "diffusion_forcing/maze2d/travel_map.hpp"
#include "diffusion_forcing/planning/planning_domain.hpp"

namespace df {

// The domain of both of maze2d's data sets.
class Maze2dDomain final : public PlanningDomain {
 public:
  // `normalizer`: of the data's frames, where the configuration alone says it.
  Maze2dDomain(Maze2dSource source, std::string usual_planner, std::optional<FrameNormalizer> normalizer = {});
  // Of given ways.
  explicit Maze2dDomain(std::shared_ptr<const TravelMap> ways);

  std::string usual_planner() const override { return usual_planner_; }
  void check(const DataSpec& spec, const std::string& weights) const override;
  const std::string& task() const { return source_.task; }
  // From any thread. The data are read, or generated, on the first call.
  std::shared_ptr<const TravelMap> ways() const;

 private:
  Maze2dSource source_;
  std::string usual_planner_;
  std::optional<FrameNormalizer> normalizer_;
  mutable std::mutex mutex_;
  mutable std::shared_ptr<const TravelMap> ways_;
};

}  // namespace df
