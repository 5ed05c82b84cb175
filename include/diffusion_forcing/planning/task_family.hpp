// SPDX-License-Identifier: MIT
// The tasks of one application: what a program that plays them by id has to know.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "diffusion_forcing/planning/environment.hpp"
#include "diffusion_forcing/planning/planning_domain.hpp"
#include "diffusion_forcing/planning/policy.hpp"

namespace df {

// What may be chosen about a task.
struct TaskOptions {
  std::string protocol;       // by which episodes are counted; empty: the family's usual one
  bool random_goals = false;  // a goal drawn for each world, in place of the task's own
  int64_t threads = 1;        // that step the worlds; 0 or 1: the caller's own
};

// A new application is one class of this and a line in the list of tasks (config/types.hpp).
class TaskFamily {
 public:
  virtual ~TaskFamily() = default;
  virtual std::vector<std::string> ids() const = 0;
  // `id` is one of ids(). Throws df::Error "--protocol: ..." for options that these tasks do not have.
  virtual std::unique_ptr<Environment> environment(const std::string& id, const TaskOptions& options) const = 0;

  // Controllers that tables set beside planners: all, and those that stand there unasked. Uniform random actions need no mention.
  virtual std::vector<std::string> controllers() const { return {}; }
  virtual std::vector<std::string> usual_controllers() const { return {}; }
  // `name` is one of controllers().
  virtual std::unique_ptr<Policy> controller(const std::string& name, const std::string& id) const;

  // Throws df::Error "expected a model of ..." where a model of data of this domain (null: of data that plans are not made from) cannot
  // play the task.
  virtual void check_model(const std::string& id, const PlanningDomain* domain) const = 0;
  // File name of the picture of several episodes.
  virtual std::string sheet_name() const { return "episodes.png"; }
};

}  // namespace df
