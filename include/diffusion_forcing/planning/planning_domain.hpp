// SPDX-License-Identifier: MIT
// What an application knows about the data that a planner's model was trained on.
#pragma once

#include <memory>
#include <string>

#include "diffusion_forcing/data/dataset.hpp"

namespace df {

// A data set that plans can be made from has a function beside its config struct C that makes one:
//   std::shared_ptr<const PlanningDomain> planning_domain(const C&);
// Planners of the application take what they need from its own class of this (a map of a maze, a table's size).
class PlanningDomain {
 public:
  virtual ~PlanningDomain() = default;
  // planning.type of experiments that have no section `planning`.
  virtual std::string usual_planner() const = 0;
  // A plan read with other units than those of the training would be nonsense without a sign of it. Throws df::Error naming `weights`, the
  // file of the model, where its run's `spec` is not that of these data.
  virtual void check(const DataSpec& spec, const std::string& weights) const = 0;
};

}  // namespace df
