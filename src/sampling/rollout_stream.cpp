// SPDX-License-Identifier: MIT
#include "diffusion_forcing/sampling/rollout_stream.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <limits>
#include <utility>
#include <vector>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "sampling/rollout_program.hpp"
#include "sampling/step_executor.hpp"

namespace df {

namespace {

constexpr int64_t endless = std::numeric_limits<int32_t>::max();  // tokens: cells count them in 32 bits

// Growing later throws recorded steps away, and on a device that records memory is not short.
int64_t first_slots(const CausalModel& model) { return model.device().is_cpu() ? 8 : 128; }

PlanPolicy policy_for(const CausalModel& model, PlanPolicy policy) {
  policy.history = model.history();
  return policy;
}

class Stopwatch {
 public:
  explicit Stopwatch(double& total) : total_(total) {}
  ~Stopwatch() { total_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  double& total_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace

struct RolloutStream::State {
  CausalModel& model;
  Diffusion diffusion;
  RolloutConfig config;
  int64_t batch;
  uint64_t seed;
  int64_t first_sequence;
  RolloutProgram program;
  PlanBuilder builder;
  StepExecutor executor;
  CellNoise noise;
  Tensor z;                       // after the context
  std::deque<Tensor> conditions;  // of tokens that have not entered the buffers
  std::optional<int64_t> last;    // how many tokens there will be
  // Counts of tokens: of the context; with a condition; in the buffers or past them; final; whose slots are free; handed out.
  int64_t context = 0, pushed = 0, entered = 0, clean = 0, free = 0, handed = 0;
  bool finished = false;  // the builder has all rows
  RolloutStats stats;
  std::function<void(const RolloutStats&)> observer = {};

  State(CausalModel& model_, const Diffusion& diffusion_, const RolloutConfig& config_, int64_t batch_, uint64_t seed_,
        const StreamStart& start)
      : model(model_),
        diffusion(diffusion_),
        config(config_),
        batch(batch_),
        seed(seed_),
        first_sequence(start.first_sequence),
        program(make_program(config, diffusion.schedule.levels())),
        builder(policy_for(model, config.policy), program.ladder),
        executor(model, diffusion, config.sampler, batch, first_slots(model)) {
    draw_from(seed);
    z = start.z.defined() ? start.z : model.initial_latent(batch, {});
    model.check_latent(z, batch, "rollout latent");
    executor.start(z);
  }

  void draw_from(uint64_t new_seed) {
    seed = new_seed;
    noise = seeded_cell_noise(derive_seed(seed, Stream::noise), shape({batch}, model.token_shape()), first_sequence);
  }

  bool begun() const { return program.walk.begun(); }
  bool conditioned() const { return model.condition_dim() > 0; }
  // Tokens that may run as far as conditions go.
  int64_t known() const { return std::min(conditioned() ? pushed : endless, last.value_or(endless)); }

  // Standard normal [B, token...]: each sequence's depends on (seed, sequence, token) only.
  Tensor token_noise(Stream stream, int64_t token) const {
    std::vector<Tensor> draws;
    for (int64_t b = first_sequence; b < first_sequence + batch; ++b)
      draws.push_back(seeded_normal(model.token_shape(),
                                    derive_seed(derive_seed(seed, stream), {static_cast<uint64_t>(b), static_cast<uint64_t>(token)})));
    return at::stack(draws);
  }

  void show_context(const Tensor& x, const Tensor& c) {
    if (begun() || pushed > 0) throw Error("rollout: expected the context before the first condition and token");
    check_shape(x, "rollout context", shape({batch, -1}, model.token_shape()));
    const int64_t T = x.size(1);
    if (conditioned()) check_shape(c, "rollout condition", {batch, T, model.condition_dim()});
    if (T == 0) return;
    std::vector<Tensor> eps;
    for (int64_t t = context; t < context + T; ++t) eps.push_back(token_noise(Stream::context, t));
    z = encode_context(model, diffusion, x, config.policy.stabilization, at::stack(eps, 1).to(x.device()), conditioned() ? c : Tensor(), z);
    context += T;
    executor.start(z);
  }

  void end(int64_t tokens) {
    const int64_t least = std::max(pushed, builder.tokens());
    if (tokens < least)
      throw Error(fmt::format("rollout: expected an end after the {} tokens that have begun or have a condition, got {}", least, tokens));
    if (last && *last != tokens) throw Error(fmt::format("rollout: expected one end, got {} tokens after {}", tokens, *last));
    if (!begun() && tokens > 0) program = make_program(config, diffusion.schedule.levels(), tokens);
    last = tokens;
  }

  void enter() {
    if (entered - free == executor.slots()) executor.grow(2 * executor.slots(), free);
    const double clip = diffusion.config.clip_noise;
    executor.set_token(entered, token_noise(Stream::sampling, entered).clamp(-clip, clip));
    if (conditioned()) {
      executor.set_condition(entered, conditions.front());
      conditions.pop_front();
    }
    ++entered;
  }

  void run(const PlanStep& step) {
    for (const Cell& cell : step)
      while (cell.token >= entered) enter();
    executor.run(step, noise);
    clean = std::min(builder.clean(), entered);
    free = std::min(builder.settled(), entered);
    stats.cells += static_cast<int64_t>(step.size());
    ++stats.steps;
    if (observer) observer(stats);
  }

  // Runs one step; false where conditions are missing or nothing is left to do.
  bool advance() {
    for (PlanStep step;;) {
      if (builder.pop(step)) {
        run(step);
        return true;
      }
      if (const auto row = program.walk.next(known(), !last || known() < *last)) {
        builder.push(*row);
        builder.pass(program.walk.first());
      } else if (last && known() == *last) {
        if (finished) return false;
        builder.finish();
        finished = true;
      } else {
        builder.release();
        if (!builder.pop(step)) return false;
        run(step);
        return true;
      }
    }
  }

  // Whether token number `handed` is final, running what it takes.
  bool make_next() {
    while (clean <= handed)
      if (!advance()) {
        clean = std::min(builder.clean(), entered);  // the authors' policies: a window may have passed, or the last row
        free = std::min(builder.settled(), entered);
        return clean > handed;
      }
    return true;
  }
};

RolloutStream::RolloutStream(CausalModel& model, const Diffusion& diffusion, const RolloutConfig& config, int64_t batch, uint64_t seed,
                             const StreamStart& start) {
  const c10::NoGradGuard no_grad;
  validate(config, diffusion.schedule.levels());
  if (batch < 1) throw Error(fmt::format("rollout: expected a batch of at least 1 sequence, got {}", batch));
  state_ = std::make_unique<State>(model, diffusion, config, batch, seed, start);
}

RolloutStream::RolloutStream(std::unique_ptr<State> state) : state_(std::move(state)) {}
RolloutStream::~RolloutStream() = default;
RolloutStream::RolloutStream(RolloutStream&&) noexcept = default;
RolloutStream& RolloutStream::operator=(RolloutStream&&) noexcept = default;

void RolloutStream::context(const Tensor& x, const Tensor& c) {
  const c10::NoGradGuard no_grad;
  const Stopwatch time(state_->stats.seconds);
  state_->show_context(x, c);
}

void RolloutStream::push(const Tensor& c) {
  State& s = *state_;
  if (!s.conditioned()) throw Error("rollout: expected no condition, since the model takes none");
  check_shape(c, "rollout condition", {s.batch, s.model.condition_dim()});
  if (s.last && s.pushed == *s.last) throw Error(fmt::format("rollout: expected no condition after the {} tokens of the end", *s.last));
  s.conditions.push_back(c);
  ++s.pushed;
}

std::optional<Tensor> RolloutStream::next() {
  State& s = *state_;
  const c10::NoGradGuard no_grad;
  const Stopwatch time(s.stats.seconds);
  if (s.last && s.handed == *s.last) return std::nullopt;
  if (!s.make_next()) return std::nullopt;
  return s.executor.token(s.handed++).clone();
}

int64_t RolloutStream::lookahead() const {
  const State& s = *state_;
  if (s.last && s.handed == *s.last) return 0;
  return std::min(s.program.walk.known_for(s.handed), s.last.value_or(endless)) - s.handed;
}

void RolloutStream::end(int64_t tokens) { state_->end(tokens); }

void RolloutStream::finish() {
  State& s = *state_;
  if (!s.last) s.end(std::max(s.pushed, s.builder.tokens()));
}

Tensor RolloutStream::latent() const {
  const State& s = *state_;
  const c10::NoGradGuard no_grad;
  if (s.handed == 0) return s.z.clone();
  const bool encodes = s.config.policy.finished == Finished::reencode && !keeps_running(s.config.policy.unchanged);
  const int64_t known = encodes ? std::min(s.builder.latched(), s.handed) : s.handed;
  return s.executor.encode(known, s.handed, s.config.policy.stabilization);
}

RolloutStream RolloutStream::fork() const { return fork(state_->seed); }

RolloutStream RolloutStream::fork(uint64_t seed) const {
  const c10::NoGradGuard no_grad;
  auto copy = std::make_unique<State>(*state_);
  copy->observer = {};
  copy->draw_from(seed);
  return RolloutStream(std::move(copy));
}

int64_t RolloutStream::tokens() const { return state_->handed; }
RolloutStats RolloutStream::stats() const { return state_->stats; }

int64_t RolloutStream::bytes() const { return state_->executor.bytes(); }

void RolloutStream::on_step(std::function<void(const RolloutStats&)> observer) { state_->observer = std::move(observer); }

}  // namespace df
