// SPDX-License-Identifier: MIT
#include "diffusion_forcing/sampling/guidance.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>
#include <vector>

#include "diffusion_forcing/core/accelerator.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "sampling/guided_rows.hpp"

namespace df {

namespace {

// State between rows, without gradients.
struct Row {
  Tensor x;  // [B, T, token...]
  Tensor z;  // [B, T + 1, latent...] before each token and after the last
};

RowRun make_run(const PlanStep& cells, const Diffusion& diffusion, const SamplerConfig& config, const CellNoise& noise, const Tensor& x) {
  RowRun run;
  run.from = cell_column(cells, x.device(), [](const Cell& cell) { return cell.from; });
  run.to = cell_column(cells, x.device(), [](const Cell& cell) { return moves(cell.kind) ? cell.to : cell.from; });
  run.moves = cell_column(cells, x.device(), [](const Cell& cell) { return moves(cell.kind); }).to(at::kBool);
  run.writes = cell_column(cells, x.device(), [](const Cell& cell) { return cell.kind != CellKind::encode; }).to(at::kBool);
  run.plan = plan_cells(cells, diffusion, config, x.select(0, 0));
  run.noise = cell_noise(run.plan, cells, noise, diffusion.config.clip_noise, x);
  return run;
}

// What a recording reads and writes; one a number of unfinished tokens.
struct Recording {
  Tensor x, z, c;  // [B, n, token...], [B, n + 1, latent...], [B, n, C] or undefined
  Tensor levels;   // int64 [4, n]: shown, from, to, moves
  std::unique_ptr<Graph> graph;
};

}  // namespace

struct GuidedSampler::State {
  CausalModel& model;
  const Diffusion& diffusion;
  SamplerConfig config;
  Guidance guidance;
  const Accelerator& device;
  bool records;
  at::Generator generator;                                      // of the branches' noise
  Tensor finite;                                                // bool []: all rewards so far
  std::map<std::pair<int64_t, int64_t>, Recording> recordings;  // by sequences and unfinished tokens

  State(CausalModel& model_, const Diffusion& diffusion_, const SamplerConfig& config_, Guidance guidance_)
      : model(model_),
        diffusion(diffusion_),
        config(config_),
        guidance(std::move(guidance_)),
        device(accelerator(model.device())),
        records(guidance.additive && !device.device().is_cpu() && config.solver == Solver::ddim && config.eta == 0.0),
        generator(device.make_generator(0)),
        finite(at::ones({}, at::TensorOptions(at::kBool).device(device.device()))) {}

  void look(const Tensor& rewards) { finite.logical_and_(at::isfinite(rewards.detach()).all()); }
  void throw_unless_finite() const {
    if (!finite.item<bool>()) throw Error("reward: expected finite values, got NaN or infinity");
  }

  // The value's gradient with respect to `leaf` [B, n, token...], the unfinished tokens at levels `from`.
  Tensor branch_gradient(const Tensor& done, const Tensor& leaf, const Tensor& c, const Tensor& from, const Tensor& z) {
    const at::AutoGradMode with_gradients(true);
    const Tensor rewards = branch_rewards(model, diffusion, guidance, config, done, leaf, c, from, z, generator);
    look(rewards);
    return torch::autograd::grad({branch_value(guidance.config, rewards).sum()}, {leaf})[0];
  }

  Tensor leaf_of(const Tensor& x) const { return x.detach().clone().requires_grad_(); }

  // A row whose cells are `cells`, one a token, tokens rising.
  void move(Row& row, const PlanStep& cells, const SampleInput& input) {
    const int64_t T = row.x.size(1), first = cells.front().token;
    const bool branching = branches_out(guidance.config);
    const Tensor leaf = leaf_of(row.x);
    Tensor z = row.z.clone();
    std::vector<Tensor> x0;                       // pieces of the row, in order
    std::vector<std::pair<RowRun, Tensor>> runs;  // with their unguided moves
    int64_t at = 0;
    for (size_t begin = 0, end; begin < cells.size(); begin = end) {
      for (end = begin + 1; end < cells.size() && cells[end].token == cells[end - 1].token + 1;) ++end;
      const PlanStep step(cells.begin() + static_cast<int64_t>(begin), cells.begin() + static_cast<int64_t>(end));
      const int64_t a = step.front().token, n = static_cast<int64_t>(step.size());
      const at::AutoGradMode with_gradients(!branching);
      const Tensor x = leaf.narrow(1, a, n);
      RowRun run = make_run(step, diffusion, config, input.noise, x);
      const Tensor c = input.c.defined() ? input.c.narrow(1, a, n) : Tensor();
      const CellOutput output = run_tokens(model, diffusion, run.plan, x, c, z.select(1, a), run.noise);
      z = at::cat({z.narrow(1, 0, a + 1), output.z, z.narrow(1, a + n + 1, T - a - n)}, 1);
      if (a > at) x0.push_back(leaf.narrow(1, at, a - at));  // a finished token is its own clean prediction
      x0.push_back(output.x0);
      at = a + n;
      runs.emplace_back(std::move(run), output.x.detach());
    }
    if (at < T) x0.push_back(leaf.narrow(1, at, T - at));
    Tensor gradient;
    if (branching) {
      Tensor from = at::zeros({T}, at::TensorOptions(at::kLong).device(row.x.device()));
      int64_t done = 0;
      for (const auto& [run, moved] : runs) {
        from.narrow(0, cells[static_cast<size_t>(done)].token, run.from.size(0)).copy_(run.from);
        done += run.from.size(0);
      }
      const Tensor rest = leaf_of(row.x.narrow(1, first, T - first)),
                   c = input.c.defined() ? input.c.narrow(1, first, T - first) : Tensor();
      const Tensor before = guidance.additive || first == 0 ? Tensor() : row.x.narrow(1, 0, first);
      gradient = at::cat({at::zeros_like(row.x.narrow(1, 0, first)),
                          branch_gradient(before, rest, c, from.narrow(0, first, T - first), row.z.select(1, first))},
                         1);
    } else {
      const at::AutoGradMode with_gradients(true);
      const Tensor all = at::cat(x0, 1), seen = guidance.additive ? all.narrow(1, first, T - first) : all;
      const Tensor rewards = checked_reward(guidance.reward, seen, true);
      look(rewards);
      gradient = torch::autograd::grad({branch_value(guidance.config, rewards.unsqueeze(0)).sum()}, {leaf})[0];
    }
    row.z = z.detach();
    int64_t done = 0;
    for (const auto& [run, moved] : runs) {
      const int64_t n = run.from.size(0);
      const Tensor x = row.x.narrow(1, cells[static_cast<size_t>(done)].token, n);
      x.copy_(
          guided_move(diffusion, config, guidance.config, run, x, moved, gradient.narrow(1, cells[static_cast<size_t>(done)].token, n)));
      done += n;
    }
  }

  // The same for all unfinished tokens of a row, with levels from device memory.
  void execute(const Recording& on) {
    const Tensor leaf = leaf_of(on.x), z = on.z.select(1, 0);
    RowRun run;
    run.from = on.levels[1];
    run.to = on.levels[2];
    run.moves = run.writes = on.levels[3].to(at::kBool);
    run.plan = plan_levels(on.levels[0], run.from, run.to, diffusion, config, leaf.select(0, 0));
    const bool branching = branches_out(guidance.config);
    CellOutput output;
    {
      const at::AutoGradMode with_gradients(!branching);
      output = run_tokens(model, diffusion, run.plan, leaf, on.c, z, {});
    }
    Tensor gradient;
    if (branching) {
      gradient = branch_gradient({}, leaf, on.c, run.from, z);
    } else {
      const at::AutoGradMode with_gradients(true);
      const Tensor rewards = checked_reward(guidance.reward, output.x0, true);
      look(rewards);
      gradient = torch::autograd::grad({branch_value(guidance.config, rewards.unsqueeze(0)).sum()}, {leaf})[0];
    }
    on.x.copy_(guided_move(diffusion, config, guidance.config, run, on.x, output.x.detach(), gradient));
    on.z.narrow(1, 1, on.x.size(1)).copy_(output.z.detach());
  }

  // False where the row is not one that recordings cover.
  bool replay(Row& row, const PlanStep& cells, const SampleInput& input) {
    const int64_t T = row.x.size(1), n = static_cast<int64_t>(cells.size()), first = cells.front().token;
    const bool plain = std::all_of(cells.begin(), cells.end(), [](const Cell& cell) {
      return cell.kind == CellKind::update || (cell.kind == CellKind::encode && cell.from > 0);
    });
    if (!records || !plain || first + n != T) return false;
    Tensor levels = at::empty({4, n}, at::kLong);
    for (int64_t i = 0; i < n; ++i) {
      const Cell& cell = cells[static_cast<size_t>(i)];
      const int64_t column[] = {cell.shown, cell.from, moves(cell.kind) ? cell.to : cell.from, moves(cell.kind)};
      for (int64_t field = 0; field < 4; ++field) levels.mutable_data_ptr<int64_t>()[field * n + i] = column[field];
    }
    Recording& recording = recordings[{row.x.size(0), n}];
    const auto fill = [&] {
      recording.x.copy_(row.x.narrow(1, first, n));
      recording.z.select(1, 0).copy_(row.z.select(1, first));
      if (recording.c.defined()) recording.c.copy_(input.c.narrow(1, first, n));
      recording.levels.copy_(levels.pin_memory(), /*non_blocking=*/true);
    };
    if (!recording.graph) {
      recording.x = at::empty_like(row.x.narrow(1, first, n), at::MemoryFormat::Contiguous);
      recording.z = at::empty_like(row.z.narrow(1, first, n + 1), at::MemoryFormat::Contiguous);
      if (input.c.defined()) recording.c = at::empty_like(input.c.narrow(1, first, n), at::MemoryFormat::Contiguous);
      recording.levels = levels.to(row.x.device());
      fill();
      const Graph* other = nullptr;
      for (const auto& [key, made] : recordings)
        if (made.graph) other = made.graph.get();
      std::vector<at::Generator> generators;
      if (branches_out(guidance.config)) generators.push_back(generator);
      recording.graph = device.capture([&] { execute(recording); }, {.warm_up = 1, .generators = generators, .shares_memory_with = other});
      if (!recording.graph) return records = false;
    }
    fill();
    recording.graph->replay();
    row.x.narrow(1, first, n).copy_(recording.x);
    row.z.narrow(1, first + 1, n).copy_(recording.z.narrow(1, 1, n));
    return true;
  }
};

GuidedSampler::GuidedSampler(CausalModel& model, const Diffusion& diffusion, const SamplerConfig& config, Guidance guidance)
    : state_(std::make_shared<State>(model, diffusion, config, std::move(guidance))) {
  validate(state_->guidance.config, config, "guidance");
  if (state_->guidance.config.form != GuidanceForm::gradient)
    throw Error("guidance.form: expected gradient, got resample (sample_particles)");
}

void GuidedSampler::set_seed(uint64_t seed) { state_->guidance.seed = seed; }

SampleOutput GuidedSampler::sample(const Plan& plan, const SampleInput& input, const RowObserver& on_row) {
  State& s = *state_;
  const c10::NoGradGuard no_grad;
  const auto stream = s.device.use_stream();
  const double clip = s.diffusion.config.clip_noise;
  check_row_order(plan);
  check_shape(input.x, "x", shape({-1, plan.tokens}, s.model.token_shape()));
  check_shape(input.z, "z", shape({input.x.size(0)}, s.model.latent_shape()));
  Row row{input.x.clamp(-clip, clip).contiguous(),
          input.z.unsqueeze(1).expand(shape({input.z.size(0), plan.tokens + 1}, s.model.latent_shape())).contiguous()};
  s.finite.fill_(true);
  for (size_t i = 0; i < plan.steps.size();) {
    const int32_t m = plan.steps[i].front().row;
    PlanStep cells;
    for (; i < plan.steps.size() && plan.steps[i].front().row == m; ++i) cells.push_back(plan.steps[i].front());
    s.generator.set_current_seed(derive_seed(s.guidance.seed, {static_cast<uint64_t>(m)}));
    if (!s.replay(row, cells, input)) s.move(row, cells, input);
    if (s.device.device().is_cpu()) s.throw_unless_finite();
    if (on_row) on_row(m, row.x.clone());
  }
  s.throw_unless_finite();
  return {row.x, row.z.select(1, plan.tokens).clone()};
}

SampleOutput sample_guided(CausalModel& model, const Diffusion& diffusion, const Plan& plan, const SamplerConfig& config,
                           const Guidance& guidance, const SampleInput& input, const RowObserver& on_row) {
  return GuidedSampler(model, diffusion, config, guidance).sample(plan, input, on_row);
}

Tensor guidance_coefficient(GuidanceCoefficient kind, const NoiseSchedule& schedule, const Tensor& from, const Tensor& to, double eta) {
  const Tensor a = schedule.alpha_bar.index_select(0, from).to(at::kDouble), next = schedule.alpha_bar.index_select(0, to).to(at::kDouble);
  const Tensor variance = eta * eta * (1 - a / next) * (1 - next) / (1 - a).clamp_min(1e-12);
  const Tensor direction = (1 - next - variance).clamp_min(0).sqrt();
  Tensor g;
  if (kind == GuidanceCoefficient::exact)
    g = (1 - a) * (next / a).sqrt() - direction * (1 - a).sqrt();
  else
    g = at::where(to > 0, (1 - a) - direction * (1 - a).sqrt(), at::zeros_like(a));
  return at::where(from > to, g, at::zeros_like(g)).to(at::kFloat);
}

void validate(const GuidanceConfig& config, const SamplerConfig& sampler, const std::string& section) {
  const auto require = [&](bool good, const char* key, const std::string& expected, const std::string& got) {
    if (!good) throw Error(fmt::format("{}.{}: expected {}, got {}", section, key, expected, got));
  };
  require(std::isfinite(config.scale) && config.scale >= 0, "scale", "a number of at least 0", fmt::format("{}", config.scale));
  require(config.branches >= 1, "branches", "at least 1", std::to_string(config.branches));
  require(config.lookahead >= 1, "lookahead", "at least 1", std::to_string(config.lookahead));
  if (config.form == GuidanceForm::gradient) {
    require(config.branches == 1 || config.lookahead >= 2, "lookahead", "at least 2 with several branches, which are equal without chance",
            std::to_string(config.lookahead));
  } else {
    require(config.branches >= 2, "branches", "at least 2 particles to choose from", std::to_string(config.branches));
    require(sampler.solver == Solver::ddpm || sampler.eta > 0, "form", "gradient, or resample with sampling.eta above 0 (copies must part)",
            "resample with eta 0");
  }
}

}  // namespace df
