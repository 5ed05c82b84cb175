// SPDX-License-Identifier: MIT
// A batch of worlds that a policy acts in. An application (a maze, a robot's table, a world to walk in) is one class of this.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "diffusion_forcing/core/tensor.hpp"
#include "diffusion_forcing/drawing/plot.hpp"

namespace df {

// A camera that policies see through.
struct CameraSpec {
  std::string name;
  int64_t height = 0, width = 0;  // pixels
};

// One number that says how an episode went. Worlds without it (the goal was never reached) hold NaN.
struct OutcomeSpec {
  std::string key;                                 // of its column in CSV and its entry in JSON: "normalized"
  std::string title;                               // of its row in tables: "normalised x 100"
  double scale = 1.0;                              // of the number in that row
  bool whole = false;                              // a count: CSV and JSON hold a whole number; -1 and null where a world has none
  std::string share_key, share_title;              // where worlds may have none: of the share of worlds that have it; empty: no such row
  std::string meaning;                             // one line for the head of the JSON file; empty: none
  drawing::Better better = drawing::Better::none;  // which values are good: pages mark the best policy
};

// What an environment is like: sizes, names and units. The same before and after any reset().
struct EnvironmentSpec {
  std::string task;                                           // its id
  std::vector<std::pair<std::string, std::string>> settings;  // name and value, shown in reports: {"goals", "multi"}
  std::string protocol;                                       // by which episodes are counted; empty: there is but one
  int64_t steps = 0;                                          // of an episode by that protocol
  double steps_a_second = 0.0;                                // control steps: how often an action is chosen
  int64_t observation = 0;                                    // O numbers of the state that policies see
  int64_t action = 0;                                         // A numbers
  int64_t goal = 0;                                           // G numbers, 0: none is given
  std::vector<CameraSpec> cameras;
  std::vector<double> action_low, action_high;  // [A] bounds; numbers beyond them are clipped by the environment
  int64_t record = 0;                           // R numbers of a world from which it can be drawn
  std::vector<std::string> place;               // names of the leading entries of states and goals that say where: {"x", "y"}
  std::vector<OutcomeSpec> outcomes;
};

// What B worlds show. Undefined tensors are absent.
struct Observation {
  Tensor state;                // [B, O] float64, CPU
  std::vector<Tensor> images;  // a camera each: [B, 3, H, W] uint8
  Tensor missing;              // [B, cameras] bool: that camera gave no picture, and the entry of `images` means nothing
  Tensor goal;                 // [B, G] float64, CPU
};

// A plan in raw units. Undefined tensors: no plan.
struct Trajectory {
  Tensor observations;  // [B, F, O] after each of the actions
  Tensor actions;       // [B, F, A]
};

// What is drawn of one world.
struct WorldPicture {
  Tensor record;                // [F, R] float64: the world since its start; one row: as it stands
  Tensor goal;                  // [G], or undefined
  Trajectory plan;              // [1, F, ...] the plan that is followed, from `plan_step` on, or undefined
  int64_t plan_step = 0;        // row of `record` at which that plan was made
  Tensor points;                // [F, places] frames of an unfinished plan, or undefined
  int64_t steps = 0;            // of the whole episode
  std::vector<double> outcome;  // of the episode, in the order of EnvironmentSpec::outcomes; empty: not known
  bool moment = false;          // the last row matters (a frame of a video), not the way there alone
};

// What happens in world i of an evaluation follows from (seed, i), whatever the size of the batch: world i of seed s is world 0 of seed
// s + i. Policies that are compared are given the same seeds, so that world i is the same for all of them.
class Environment {
 public:
  virtual ~Environment() = default;
  virtual const EnvironmentSpec& spec() const = 0;

  // Worlds first_world .. first_world + worlds - 1 start anew; the batch is of that size from now on.
  virtual void reset(uint64_t seed, int64_t first_world, int64_t worlds) = 0;
  virtual Observation observe() = 0;

  // What several steps gave.
  struct Steps {
    Tensor rewards;  // [B, n] float64, of the state after each step
    Tensor records;  // [B, n, R] float64, after each step
  };
  // n steps, one after the other: actions [B, n, A] float64 on the CPU, finite.
  virtual Steps step(const Tensor& actions) = 0;
  virtual Tensor record() const = 0;   // [B, R] float64, of now
  virtual Tensor outcome() const = 0;  // [B, outcomes] float64, of the episode so far; NaN: a world has no such number

  // uint8 [3, H, W], `width` pixels wide or nearly so; undefined where this environment has no pictures.
  virtual Tensor draw(const WorldPicture& picture, int64_t width) const;
  // A few words below a finished episode's picture; `outcome` as in WorldPicture. The default names the first number.
  virtual std::string caption(const std::vector<double>& outcome) const;
};

}  // namespace df
