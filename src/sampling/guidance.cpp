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

#include "core/recorded_call.hpp"
#include "core/require.hpp"
#include "core/upload.hpp"
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
  run.first = cells.front().token;
  run.from = cell_column(cells, x.device(), [](const Cell& cell) { return cell.from; });
  run.to = cell_column(cells, x.device(), [](const Cell& cell) { return moves(cell.kind) ? cell.to : cell.from; });
  run.moves = cell_column(cells, x.device(), [](const Cell& cell) { return moves(cell.kind); }).to(at::kBool);
  run.writes = cell_column(cells, x.device(), [](const Cell& cell) { return cell.kind != CellKind::encode; }).to(at::kBool);
  run.plan = plan_cells(cells, diffusion, config, x.select(0, 0));
  run.noise = cell_noise(run.plan, cells, noise, diffusion.config.clip_noise, x);
  return run;
}

// The cells of a row, one a token and tokens rising, as runs of successive tokens.
std::vector<PlanStep> runs_of(const PlanStep& cells) {
  std::vector<PlanStep> runs;
  for (const Cell& cell : cells) {
    if (runs.empty() || cell.token != runs.back().back().token + 1) runs.emplace_back();
    runs.back().push_back(cell);
  }
  return runs;
}

// The unguided moves of a row.
struct RowPass {
  std::vector<RowRun> runs;
  std::vector<Tensor> moved;  // of each run
  Tensor x0;                  // [B, T, token...] clean predictions; a token without a cell is its own
  Tensor z;                   // as Row::z, after the row
};

// What a recording reads and writes; one a number of unfinished tokens.
struct Recording {
  Tensor x, z, c;  // [B, n, token...], [B, n + 1, latent...], [B, n, C] or undefined
  Tensor levels;   // int64 [4, n]: shown, from, to, moves
  RecordedCall call;
};

}  // namespace

struct GuidedSampler::State {
  CausalModel& model;
  Diffusion diffusion;
  SamplerConfig config;
  Guidance guidance;
  const Accelerator& device;
  bool records;  // rows that recordings cover
  Refusal refusal{"guided sampling goes on without recorded rows", {}};
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

  Tensor leaf_of(const Tensor& x) const { return x.detach().clone().requires_grad_(); }

  // Of the value with respect to `leaf` [B, n, token...], the unfinished tokens at levels `from`, by sampled futures.
  Tensor gradient_by_branches(const Tensor& done, const Tensor& leaf, const Tensor& c, const Tensor& from, const Tensor& z) {
    const at::AutoGradMode with_gradients(true);
    const Tensor rewards = branch_rewards(model, diffusion, guidance, config, done, leaf, c, from, z, generator);
    look(rewards);
    return torch::autograd::grad({branch_value(guidance.config, rewards).sum()}, {leaf})[0];
  }

  // The same by clean predictions x0 that were made from `leaf` with gradients.
  Tensor gradient_by_predictions(const Tensor& x0, const Tensor& leaf) {
    const at::AutoGradMode with_gradients(true);
    const Tensor rewards = checked_reward(guidance.reward, x0, true);
    look(rewards);
    return torch::autograd::grad({branch_value(guidance.config, rewards.unsqueeze(0)).sum()}, {leaf})[0];
  }

  RowPass forward(const Row& row, const Tensor& leaf, const PlanStep& cells, const SampleInput& input) {
    const int64_t T = leaf.size(1);
    RowPass pass;
    pass.z = row.z;
    std::vector<Tensor> x0;
    int64_t at = 0;
    for (const PlanStep& step : runs_of(cells)) {
      const int64_t a = step.front().token, n = static_cast<int64_t>(step.size());
      const Tensor x = leaf.narrow(1, a, n), c = input.c.defined() ? input.c.narrow(1, a, n) : Tensor();
      RowRun run = make_run(step, diffusion, config, input.noise, x);
      const CellOutput output = run_tokens(model, diffusion, run.plan, x, c, pass.z.select(1, a), run.noise);
      pass.z = at::cat({pass.z.narrow(1, 0, a + 1), output.z, pass.z.narrow(1, a + n + 1, T - a - n)}, 1);
      x0.insert(x0.end(), {leaf.narrow(1, at, a - at), output.x0});
      at = a + n;
      pass.runs.push_back(std::move(run));
      pass.moved.push_back(output.x.detach());
    }
    x0.push_back(leaf.narrow(1, at, T - at));
    pass.x0 = at::cat(x0, 1);
    pass.z = pass.z.detach();
    return pass;
  }

  // Of the value with respect to all tokens of a row, [B, T, token...].
  Tensor row_gradient(const Row& row, const RowPass& pass, const Tensor& leaf, const SampleInput& input) {
    const at::AutoGradMode with_gradients(true);
    const int64_t T = leaf.size(1), first = pass.runs.front().first, rest = T - first;
    if (!branches_out(guidance.config)) return gradient_by_predictions(guidance.additive ? pass.x0.narrow(1, first, rest) : pass.x0, leaf);
    const Tensor from = at::zeros({T}, at::TensorOptions(at::kLong).device(leaf.device()));
    for (const RowRun& run : pass.runs) from.narrow(0, run.first, run.from.size(0)).copy_(run.from);
    const Tensor done = row.x.narrow(1, 0, first), c = input.c.defined() ? input.c.narrow(1, first, rest) : Tensor();
    const Tensor unfinished = gradient_by_branches(guidance.additive || first == 0 ? Tensor() : done, leaf_of(row.x.narrow(1, first, rest)),
                                                   c, from.narrow(0, first, rest), row.z.select(1, first));
    return at::cat({at::zeros_like(done), unfinished}, 1);
  }

  void move(Row& row, const PlanStep& cells, const SampleInput& input) {
    const Tensor leaf = leaf_of(row.x);
    RowPass pass;
    {
      const at::AutoGradMode with_gradients(!branches_out(guidance.config));
      pass = forward(row, leaf, cells, input);
    }
    const Tensor gradient = row_gradient(row, pass, leaf, input);
    row.z = pass.z;
    for (size_t i = 0; i < pass.runs.size(); ++i) {
      const RowRun& run = pass.runs[i];
      const int64_t n = run.from.size(0);
      const Tensor x = row.x.narrow(1, run.first, n);
      x.copy_(guided_move(diffusion, config, guidance.config, run, x, pass.moved[i], gradient.narrow(1, run.first, n)));
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
    const Tensor gradient = branching ? gradient_by_branches({}, leaf, on.c, run.from, z) : gradient_by_predictions(output.x0, leaf);
    on.x.copy_(guided_move(diffusion, config, guidance.config, run, on.x, output.x.detach(), gradient));
    on.z.narrow(1, 1, on.x.size(1)).copy_(output.z.detach());
  }

  // The last tokens of a row into a recording's buffers.
  static void fill(Recording& recording, const Row& row, const Tensor& levels, const SampleInput& input) {
    const int64_t n = recording.x.size(1), first = row.x.size(1) - n;
    recording.x.copy_(row.x.narrow(1, first, n));
    recording.z.select(1, 0).copy_(row.z.select(1, first));
    if (recording.c.defined()) recording.c.copy_(input.c.narrow(1, first, n));
    upload(levels, recording.levels);
  }

  // Buffers like the last n tokens of a row, and their recording, which is null where the device would not make one.
  void record(Recording& recording, const Row& row, const Tensor& levels, int64_t n, const SampleInput& input) {
    const int64_t first = row.x.size(1) - n;
    const auto buffer = [](const Tensor& like) { return at::zeros_like(like, at::MemoryFormat::Contiguous); };
    recording.x = buffer(row.x.narrow(1, first, n));
    recording.z = buffer(row.z.narrow(1, first, n + 1));
    if (input.c.defined()) recording.c = buffer(input.c.narrow(1, first, n));
    recording.levels = at::empty_like(levels, row.x.device());
    fill(recording, row, levels, input);  // what it warms up on
    CaptureOptions options;
    options.warm_up = 1;
    if (branches_out(guidance.config)) options.generators.push_back(generator);
    for (const auto& [key, made] : recordings)
      if (made.call.recorded()) options.shares_memory_with = made.call.graph();
    if (!recording.call.record(
            device, [&] { execute(recording); }, options, refusal))
      generator = device.make_generator(generator.current_seed());  // the old one may still think that it is being recorded
  }

  // False where the row is not one that recordings cover.
  bool replay(Row& row, const PlanStep& cells, const SampleInput& input) {
    const int64_t T = row.x.size(1), n = static_cast<int64_t>(cells.size()), first = cells.front().token;
    const bool plain = std::all_of(cells.begin(), cells.end(), [](const Cell& cell) {
      return cell.kind == CellKind::update || (cell.kind == CellKind::encode && cell.from > 0);
    });
    if (!records || !refusal.reason.empty() || !plain || first + n != T) return false;
    Tensor levels = at::empty({4, n}, at::kLong);
    for (int64_t i = 0; i < n; ++i) {
      const Cell& cell = cells[static_cast<size_t>(i)];
      const int64_t column[] = {cell.shown, cell.from, moves(cell.kind) ? cell.to : cell.from, moves(cell.kind)};
      for (int64_t field = 0; field < 4; ++field) levels.mutable_data_ptr<int64_t>()[field * n + i] = column[field];
    }
    Recording& recording = recordings[{row.x.size(0), n}];
    if (!recording.call.recorded()) record(recording, row, levels, n, input);
    if (!recording.call.recorded()) return false;
    fill(recording, row, levels, input);
    recording.call.replay();
    row.x.narrow(1, first, n).copy_(recording.x);
    row.z.narrow(1, first + 1, n).copy_(recording.z.narrow(1, 1, n));
    return true;
  }
};

GuidedSampler::GuidedSampler(CausalModel& model, const Diffusion& diffusion, const SamplerConfig& config, Guidance guidance)
    : state_(std::make_unique<State>(model, diffusion, config, std::move(guidance))) {
  validate(state_->guidance.config, config, "guidance");
  if (state_->guidance.config.form != GuidanceForm::gradient)
    throw Error("guidance.form: expected gradient, got resample (sample_particles)");
}

GuidedSampler::~GuidedSampler() = default;
GuidedSampler::GuidedSampler(GuidedSampler&&) noexcept = default;
GuidedSampler& GuidedSampler::operator=(GuidedSampler&&) noexcept = default;

void GuidedSampler::set_seed(uint64_t seed) { state_->guidance.seed = seed; }

SampleOutput GuidedSampler::sample(const Plan& plan, const SampleInput& input, const RowObserver& on_row) {
  State& s = *state_;
  const c10::NoGradGuard no_grad;
  const auto stream = s.device.use_stream();
  const double clip = s.diffusion.config.clip_noise;
  const std::vector<PlanStep> rows = rows_in_order(plan);
  check_guided_input(s.model, plan, input);
  Row row{input.x.clamp(-clip, clip).contiguous(),
          input.z.unsqueeze(1).expand(shape({input.z.size(0), plan.tokens + 1}, s.model.latent_shape())).contiguous()};
  s.finite.fill_(true);
  for (const PlanStep& cells : rows) {
    const int32_t m = cells.front().row;
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
  const Require require(section);
  require.number_at_least("scale", config.scale, 0);
  require.at_least("branches", config.branches, 1);
  require.at_least("lookahead", config.lookahead, 1);
  if (config.form == GuidanceForm::gradient) {
    require(config.branches == 1 || config.lookahead >= 2, "lookahead", "at least 2 with several branches, which are equal without chance",
            config.lookahead);
  } else {
    require(config.branches >= 2, "branches", "at least 2 particles to choose from", config.branches);
    require(sampler.draws_noise(), "form", "gradient, or resample with sampling.eta above 0 (copies must part)", "resample with eta 0");
  }
}

}  // namespace df
