// SPDX-License-Identifier: MIT
#include "diffusion_forcing/maze2d/maze2d_task_family.hpp"

#include <fmt/format.h>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/maze2d/maze2d_domain.hpp"
#include "diffusion_forcing/maze2d/maze2d_environment.hpp"
#include "diffusion_forcing/maze2d/maze2d_task.hpp"
#include "diffusion_forcing/maze2d/waypoint_policy.hpp"

namespace df {

namespace {

class Maze2dTaskFamily final : public TaskFamily {
 public:
  std::vector<std::string> ids() const override {
    std::vector<std::string> all;
    for (const auto& task : maze2d_tasks()) all.push_back(task.id);
    return all;
  }
  std::unique_ptr<Environment> environment(const std::string& id, const TaskOptions& options) const override {
    Maze2dEnvironmentOptions maze{.multi = options.random_goals, .threads = options.threads};
    if (!options.protocol.empty()) maze.protocol = enum_value<Protocol>(options.protocol, "--protocol");
    return make_maze2d_environment(maze2d_task(id), maze);
  }
  std::vector<std::string> controllers() const override {
    std::vector<std::string> all;
    for (const auto& [name, kind] : EnumNames<WaypointKind>::table) all.emplace_back(name);
    return all;
  }
  std::vector<std::string> usual_controllers() const override { return {"replanning", "near_optimal"}; }
  std::unique_ptr<Policy> controller(const std::string& name, const std::string& id) const override {
    return make_waypoint_policy(maze2d_task(id).maze(), enum_value<WaypointKind>(name, "controller"));
  }
  // Trained on the walls of the task, whatever its rewards were.
  void check_model(const std::string& id, const PlanningDomain* domain) const override {
    const auto* maze = dynamic_cast<const Maze2dDomain*>(domain);
    if (!maze) throw Error(fmt::format("expected a model of a maze for {}, got one of other data", id));
    if (maze2d_task(maze->task()).layout != maze2d_task(id).layout)
      throw Error(fmt::format("expected a model of the maze of {}, got one that was trained on {}", id, maze->task()));
  }
  std::string sheet_name() const override { return "mazes.png"; }
};

}  // namespace

std::shared_ptr<const TaskFamily> maze2d_task_family() { return std::make_shared<Maze2dTaskFamily>(); }

}  // namespace df
