// SPDX-License-Identifier: MIT
// What an experiment chooses by name, and what is asked of each choice. A config struct fills a role by free functions beside it:
//
//   data set   std::shared_ptr<const Dataset> make(const C&, Split);
//              std::vector<FileReport> check(const C&);                        optional: looks at each of its files
//              std::shared_ptr<const PlanningDomain> planning_domain(const C&);   optional: where plans can be made from it
//   model      std::shared_ptr<CausalModel> make(const C&, const TokenSpec&, at::Generator);
//   planner    std::unique_ptr<Policy> make(const C&, const PlannerModel&, PlanObserver);
//
//
// and, optional for all, `void validate(const C&)`, which throws df::Error naming a key whose value is out of range.
#pragma once

#include <ATen/core/Generator.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "diffusion_forcing/config/choice.hpp"
#include "diffusion_forcing/core/tensor.hpp"
#include "diffusion_forcing/data/dataset.hpp"
#include "diffusion_forcing/data/file_report.hpp"
#include "diffusion_forcing/models/latent_init.hpp"
#include "diffusion_forcing/models/token_spec.hpp"
#include "diffusion_forcing/planning/policy.hpp"

namespace df {

class CausalModel;
class PlanningDomain;
struct PlannerModel;
using PlanObserver = std::function<void(int64_t row, const Tensor& frames)>;

namespace detail {
template <class C>
void validate_if_it_can(const C& config) {
  if constexpr (requires { validate(config); }) validate(config);
}
template <class C>
std::shared_ptr<const PlanningDomain> domain_if_any(const C& config) {
  if constexpr (requires { planning_domain(config); }) return planning_domain(config);
  return nullptr;
}
}  // namespace detail

class DataRole {
 public:
  static constexpr const char* section = "data";
  template <class C>
  class For;  // implements the role for a config struct C
  virtual ~DataRole() = default;
  virtual void validate_config() const = 0;
  virtual std::shared_ptr<const Dataset> dataset(Split split) const = 0;
  // What is in each of its files; nothing where the data set has none.
  virtual std::optional<std::vector<FileReport>> check_files() const = 0;
  // What planners may know of the data; null where plans are not made from them.
  virtual std::shared_ptr<const PlanningDomain> planning_domain() const = 0;
};

// What is asked of the configuration of a model.
class ModelRole {
 public:
  static constexpr const char* section = "model";
  template <class C>
  class For;  // implements the role for a config struct C
  virtual ~ModelRole() = default;
  virtual void validate_config() const = 0;
  // On the CPU, float32, in training mode; `generator` draws the weights.
  virtual std::shared_ptr<CausalModel> model(const TokenSpec& spec, at::Generator generator) const = 0;
  // Of models that let the experiment choose.
  virtual std::optional<LatentInit> latent_init() const = 0;
};

// What is asked of the configuration of a planner.
class PlannerRole {
 public:
  static constexpr const char* section = "planning";
  template <class C>
  class For;  // implements the role for a config struct C
  virtual ~PlannerRole() = default;
  virtual void validate_config() const = 0;
  virtual std::unique_ptr<Policy> policy(const PlannerModel& trained, PlanObserver observer) const = 0;
};

// The role of a config struct C, filled by the functions beside it.
template <class C>
class DataRole::For final : public DataRole {
 public:
  C config;
  void validate_config() const override { detail::validate_if_it_can(config); }
  std::shared_ptr<const Dataset> dataset(Split split) const override { return make(config, split); }
  std::optional<std::vector<FileReport>> check_files() const override {
    if constexpr (requires { check(config); }) return check(config);
    return std::nullopt;
  }
  std::shared_ptr<const PlanningDomain> planning_domain() const override { return detail::domain_if_any(config); }
};

// The role of a config struct C, filled by the functions beside it.
template <class C>
class ModelRole::For final : public ModelRole {
 public:
  C config;
  void validate_config() const override { detail::validate_if_it_can(config); }
  std::shared_ptr<CausalModel> model(const TokenSpec& spec, at::Generator generator) const override {
    return make(config, spec, std::move(generator));
  }
  std::optional<LatentInit> latent_init() const override {
    if constexpr (requires { config.latent_init; }) return config.latent_init;
    return std::nullopt;
  }
};

// The role of a config struct C, filled by the functions beside it.
template <class C>
class PlannerRole::For final : public PlannerRole {
 public:
  C config;
  void validate_config() const override { detail::validate_if_it_can(config); }
  std::unique_ptr<Policy> policy(const PlannerModel& trained, PlanObserver observer) const override {
    return make(config, trained, std::move(observer));
  }
};

using DataConfig = Choice<DataRole>;
using ModelConfig = Choice<ModelRole>;
using PlanningConfig = Choice<PlannerRole>;

// The data set of a configuration. Throws df::Error naming key or file.
std::shared_ptr<const Dataset> make_dataset(const DataConfig& config, Split split);
// Weights are a pure function of (config, spec, seed). On the CPU, float32, in training mode.
std::shared_ptr<CausalModel> make_model(const ModelConfig& config, const TokenSpec& spec, uint64_t seed);

}  // namespace df
