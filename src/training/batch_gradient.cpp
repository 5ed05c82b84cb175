// SPDX-License-Identifier: MIT
#include "training/batch_gradient.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/autograd.h>

#include <utility>

#include "core/autocast.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/shape.hpp"

namespace df {

namespace {

// Gradient sums, one a parameter, undefined where no part had a gradient.
using Gradients = std::vector<Tensor>;

void add_into(Gradients& sum, Gradients&& part) {
  const at::NoGradGuard no_grad;
  if (sum.empty()) sum.resize(part.size());
  std::vector<Tensor> into, from;
  for (size_t i = 0; i < part.size(); ++i) {
    if (!part[i].defined()) continue;
    if (sum[i].defined()) {
      into.push_back(sum[i]);
      from.push_back(part[i]);
    } else {
      sum[i] = std::move(part[i]);
    }
  }
  if (!into.empty()) at::_foreach_add_(into, from);
}

// A batch of `rows` sequences of the same sizes as those of `batch`, the first of which stands for all.
Batch of_size(const Batch& batch, int64_t rows) {
  Batch whole;
  for (const auto& [name, field] : batch_fields) {
    const Tensor& tensor = batch.*field;
    if (!tensor.defined()) continue;
    Shape sizes = tensor.sizes().vec();
    sizes.at(0) = rows;
    whole.*field = tensor.slice(0, 0, 1).expand(sizes);
  }
  return whole;
}

}  // namespace

BatchGradient::BatchGradient(const TrainerConfig& config, const NamedTensors& trained, Objective objective, at::Device device,
                             std::shared_ptr<const Team> team, int64_t team_rows)
    : config_(config),
      objective_(std::move(objective)),
      device_(device),
      team_(std::move(team)),
      team_rows_(team_rows),
      sum_(team_, trained) {
  for (const auto& [name, tensor] : trained) parameters_.push_back(tensor);
  if (device.is_cpu() && config.cpu_workers > 0) workers_ = std::make_unique<WorkerPool>(config.cpu_workers);
}

// Those of the whole batch, of which this rank keeps its rows.
std::vector<Tensor> BatchGradient::draw(const Batch& batch, const at::Generator& generator) const {
  const at::NoGradGuard no_grad;
  if (team_->alone()) return objective_.draw(batch, generator);
  const Share rows = share_of(team_rows_, team_->rank(), team_->size());
  std::vector<Tensor> draws = objective_.draw(of_size(batch, team_rows_), generator);
  for (Tensor& draw : draws)
    if (draw.defined()) draw = draw.slice(0, rows.begin, rows.end);
  return draws;
}

// Adds weight * d loss / d parameters of the part's rows to `gradients` and returns weight * loss; the weight is the part's share of the
// whole batch.
Tensor BatchGradient::add_part(const Batch& batch, const std::vector<Tensor>& draws, const Share& part, Gradients& gradients) const {
  const at::AutoGradMode record(true);
  const int64_t rows = batch.x.size(0), all_rows = team_->alone() ? rows : team_rows_;
  const bool whole = part.size() == rows;
  std::vector<Tensor> own;
  for (const auto& draw : draws) own.push_back(whole || !draw.defined() ? draw : draw.slice(0, part.begin, part.end));
  Tensor loss;
  {
    const bool bf16 = config_.precision == Precision::bf16;
    const Autocast autocast(device_.type(), bf16, /*cache=*/bf16 && !workers_);
    loss = objective_.loss(whole ? batch : batch.slice(part.begin, part.end), own);
  }
  // A loss that is the same for every weight has no gradient at all; the weights then stay as they are.
  const auto weighted = part.size() == all_rows ? loss : loss * (static_cast<double>(part.size()) / static_cast<double>(all_rows));
  if (weighted.requires_grad())
    add_into(gradients, torch::autograd::grad({weighted}, parameters_, /*grad_outputs=*/{}, /*retain_graph=*/false, /*create_graph=*/false,
                                              /*allow_unused=*/true));
  else if (gradients.empty())
    gradients.resize(parameters_.size());
  return weighted.detach();
}

// The order of every sum is fixed, so that results do not depend on which worker is first.
BatchGradient::Result BatchGradient::rows_of_rank(const Batch& batch, const std::vector<Tensor>& draws) const {
  const int64_t rows = batch.x.size(0), width = workers_ ? workers_->size() : 1, parts = config_.accumulate * width;
  if (rows < parts) throw Error(fmt::format("batch: expected at least {} sequences, one a part, got {}", parts, rows));
  std::vector<Gradients> sums(static_cast<size_t>(width));
  std::vector<Tensor> losses(static_cast<size_t>(width));
  const auto work = [&](int64_t worker) {
    auto& loss = losses[static_cast<size_t>(worker)];
    for (int64_t i = 0; i < config_.accumulate; ++i) {
      const auto value = add_part(batch, draws, share_of(rows, i * width + worker, parts), sums[static_cast<size_t>(worker)]);
      loss = loss.defined() ? loss + value : value;
    }
  };
  if (workers_)
    workers_->run(work);
  else
    work(0);
  Result result{losses[0], std::move(sums[0])};
  for (size_t worker = 1; worker < sums.size(); ++worker) {
    add_into(result.gradients, std::move(sums[worker]));
    result.loss = result.loss + losses[worker];
  }
  return result;
}

BatchGradient::Result BatchGradient::operator()(const Batch& batch, const at::Generator& generator) {
  Result result = rows_of_rank(batch, draw(batch, generator));
  sum_(result.gradients, result.loss);
  return result;
}

}  // namespace df
