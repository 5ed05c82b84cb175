// SPDX-License-Identifier: MIT
// Measures the library on the machine it runs on, beside what the machine's own matrix products allow.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <torch/autograd.h>

#include <algorithm>
#include <new>
#include <set>

#include "app.hpp"
#include "bench_measure.hpp"
#include "bench_networks.hpp"
#include "bench_report.hpp"
#include "core/autocast.hpp"
#include "sampling/row_workers.hpp"

namespace {

using at::Tensor;
using df::bench::Network;
using df::bench::Row;
using df::bench::Timing;

constexpr const char* examples = R"(
Examples:
  df-bench                                          everything, two to three minutes on two CPU cores
  df-bench --cases quick,rollout --seconds 10       the small model, with more runs of each
  df-bench --device cuda --json h200.json           two minutes on an H200

Cases: quick, video, dmlab, maze (denoise calls, training steps and guided rows of these networks), rollout (1000 frames), world (frames of the
embedded world). On a device that records, every figure is of recorded work.)";

const std::set<std::string> all_cases = {"quick", "video", "dmlab", "maze", "rollout", "world"};

struct Arguments {
  std::string device = "auto", precision;
  std::vector<std::string> cases;
  std::filesystem::path json;
  double seconds = 1.5;
  int64_t threads = 0, frames = 1000;
};

class Bench {
 public:
  Bench(const Arguments& arguments, const df::Accelerator& on)
      : arguments_(arguments),
        on_(on),
        cpu_(on.device().is_cpu()),
        bf16_(arguments.precision == "bf16"),
        threads_(at::get_num_threads()),
        networks_(df::bench::networks(cpu_)),
        report_(on.description(), arguments.precision, threads_,
                df::bench::matmul_rate(on, bf16_ ? at::kBFloat16 : at::kFloat, arguments.seconds)) {}

  void run() {
    for (const Network& network : networks_) {
      if (!wanted(network.name)) continue;
      calls(network);
      training(network);
      if (network.name == "maze") guided_row(network);
    }
    if (wanted("rollout")) rollouts();
    if (wanted("world")) world();
    if (!arguments_.json.empty()) report_.write_json(arguments_.json);
  }

 private:
  bool wanted(const std::string& name) const {
    return arguments_.cases.empty() || std::find(arguments_.cases.begin(), arguments_.cases.end(), name) != arguments_.cases.end();
  }

  // Adds a row of `work`, unless it would take too long or too much memory.
  void add(Row row, const std::function<void()>& work) {
    const double floor = report_.floor_seconds(row.flop);
    if (floor > 2 * arguments_.seconds)
      return report_.skip(row.network, row.work,
                          fmt::format("{:.1f} s a run at best; needs --seconds {:.0f}", floor, std::ceil(floor / 2)));
    try {
      row.time = df::bench::measure(on_, arguments_.seconds, 3, work);
    } catch (const c10::OutOfMemoryError&) {
      return report_.skip(row.network, row.work, "does not fit the device's memory");
    } catch (const std::bad_alloc&) {
      return report_.skip(row.network, row.work, "does not fit the memory");
    }
    report_.add(std::move(row));
  }

  void calls(const Network& network) {
    const at::NoGradGuard no_grad;
    const auto model = df::bench::model_on(on_, network);
    const auto inputs = [&](int64_t batch) {
      const auto device = on_.device();
      return std::tuple(
          df::seeded_normal(df::shape({batch}, model->token_shape()), 1).to(device),
          at::randint(1, network.experiment.diffusion.levels + 1, {batch}, df::make_generator(2), at::TensorOptions(at::kLong)).to(device),
          df::seeded_normal(df::shape({batch}, model->latent_shape()), 3).to(device));
    };
    const double flop = cell_flop(network);
    for (const int64_t batch : cpu_ ? std::vector<int64_t>{1, 8, 16, 100} : std::vector<int64_t>{1, 16, 100}) {
      const auto [x, k, z] = inputs(batch);
      const df::Autocast autocast(on_.device().type(), bf16_, bf16_);
      df::TokenOutput output;
      const auto step = [&] { output = model->step(x, k, {}, z); };
      const Row row{
          network.name, fmt::format("denoise call, batch {}", batch), {}, flop * static_cast<double>(batch), static_cast<double>(batch)};
      recorded(row, step);
      if (cpu_ && batch > 1 && threads_ > 1) {
        df::RowWorkers workers(threads_);
        add(named(row, fmt::format("{}, {} workers", row.work, threads_)), [&] { output = workers.step(*model, x, k, {}, z); });
      }
    }
  }

  // As one graph, where the device can record it.
  void recorded(const Row& row, const std::function<void()>& work) {
    std::unique_ptr<df::Graph> graph;
    try {
      graph = on_.capture(work);
    } catch (const std::exception& error) {
      report_.skip(row.network, row.work + ", recorded", error.what());
    }
    add(row, [&] { graph ? graph->replay() : work(); });
  }

  // What guidance costs in each row of a plan: all tokens forward, and the gradient of a reward back to them.
  void guided_row(const Network& network) {
    const int64_t batch = 32;
    const auto stream = on_.use_stream();
    const auto model = df::bench::model_on(on_, network);
    for (Tensor parameter : model->parameters()) parameter.requires_grad_(false);
    const Tensor x = df::seeded_normal(df::shape({batch, network.tokens}, network.token.token_shape), 1).to(on_.device());
    const int64_t levels = network.experiment.diffusion.levels;
    const Tensor k =
        at::randint(1, levels + 1, {batch, network.tokens}, df::make_generator(2), at::TensorOptions(at::kLong)).to(on_.device());
    const Tensor z = model->initial_latent(batch, {});
    Tensor gradient;
    const auto work = [&] {
      const Tensor tokens = x.detach().requires_grad_(true);
      Tensor reward;
      {
        const df::Autocast autocast(on_.device().type(), bf16_, bf16_);
        reward = model->unroll(tokens, k, {}, z).prediction.to(at::kFloat).square().sum();
      }
      gradient = torch::autograd::grad({reward}, {tokens})[0];
    };
    const double cells = static_cast<double>(batch * network.tokens);
    recorded({network.name, fmt::format("guided row, {} tokens x {}", network.tokens, batch), {}, 2 * cells * cell_flop(network), cells},
             work);
  }

  void training(const Network& network) {
    df::TrainerConfig config = network.experiment.training.trainer;
    config.batch = network.batch;
    config.precision = bf16_ ? df::Precision::bf16 : df::Precision::fp32;
    const double cells = static_cast<double>(network.tokens * network.batch);
    Row row{network.name,
            fmt::format("training step, {} tokens x {}", network.tokens, network.batch),
            {},
            3 * cells * cell_flop(network),
            cells};
    const auto measured = [&](int64_t workers) {
      config.cpu_workers = workers;
      auto training = df::bench::make_training(on_, network, config);
      for (int i = 0; !cpu_ && i < 8; ++i) training.trainer->step();  // until it is recorded
      add(workers > 0 ? named(row, fmt::format("{}, {} workers", row.work, workers)) : row, [&] { training.trainer->step(); });
    };
    measured(0);
    if (cpu_ && threads_ > 1 && network.batch >= threads_) measured(threads_);
  }

  // Of the large networks only where it does not take minutes.
  void rollouts() {
    struct Case {
      const char* network;
      const char* schedule;
      int64_t steps, sequences;  // 0 steps: those of the experiment
    };
    std::vector<Case> cases;
    if (cpu_)
      for (const int64_t sequences : {1, 4})
        for (const char* schedule : {"naive", "autoregressive", "pyramid"}) cases.push_back({"quick", schedule, 0, sequences});
    else
      cases = {{"video", "autoregressive", 100, 1}, {"video", "pyramid", 100, 1},        {"video", "autoregressive", 25, 8},
               {"video", "autoregressive", 10, 8},  {"dmlab", "autoregressive", 100, 1}, {"dmlab", "pyramid", 100, 1}};
    for (const Network& network : networks_) {
      const auto of_network = [&](const Case& c) { return c.network == network.name; };
      if (std::none_of(cases.begin(), cases.end(), of_network)) continue;
      const auto model = df::bench::model_on(on_, network);
      const auto diffusion = df::make_diffusion(network.experiment.diffusion).to(on_.device());
      for (const Case& c : cases) {
        if (!of_network(c)) continue;
        df::RolloutConfig config = network.experiment.sampling;
        if (c.steps > 0) config.steps = c.steps;
        const std::string work = fmt::format("{}, S {}, {} x {} frames", c.schedule, config.steps, c.sequences, arguments_.frames);
        if (c.schedule == std::string("naive")) {
          naive(network, *model, diffusion, config, c.sequences, "pyramid, " + work);
          continue;
        }
        config.schedule = c.schedule;
        for (const int64_t workers : cpu_&& threads_ > 1 ? std::vector<int64_t>{0, threads_} : std::vector<int64_t>{0}) {
          config.sampler.cpu_workers = workers;
          rollout(network, *model, diffusion, config, c.sequences, workers > 0 ? fmt::format("{}, {} workers", work, workers) : work);
        }
      }
    }
  }

  int64_t tokens_of(const Network& network) const {
    return (arguments_.frames + network.token.frame_stack - 1) / network.token.frame_stack;
  }

  // Times `run(tokens)`, which gives its number of cells; with fewer tokens where all would take too long, then told for all by their
  // cells.
  void long_run(const Network& network, const std::string& work, int64_t sequences, const std::function<int64_t(int64_t tokens)>& cells,
                const std::function<void(int64_t tokens)>& run) {
    const df::Autocast autocast(on_.device().type(), bf16_ && !cpu_, bf16_ && !cpu_);
    const int64_t all = tokens_of(network);
    const auto timed = [&](int64_t tokens) { return df::bench::measure(on_, 0.0, 1, [&] { run(tokens); }); };
    int64_t tokens = std::min<int64_t>(all, 8);
    const double a_cell = timed(tokens).best / static_cast<double>(cells(tokens));
    while (tokens < all && a_cell * static_cast<double>(cells(std::min(all, 2 * tokens))) < 8 * arguments_.seconds)
      tokens = std::min(all, 2 * tokens);
    if (!cpu_ && a_cell * static_cast<double>(cells(tokens)) < 8 * arguments_.seconds)
      run(tokens);  // the first one of each width measures cuDNN's algorithms
    Timing time{1e30, 1e30, 1e30, 0};
    for (const double end = df::bench::now() + arguments_.seconds; time.runs == 0 || df::bench::now() < end; ++time.runs) {
      on_.synchronize();
      const double start = df::bench::now(), cpu = df::bench::cpu_now();
      run(tokens);
      on_.synchronize();
      time.best = std::min(time.best, df::bench::now() - start);
      time.cpu = std::min(time.cpu, df::bench::cpu_now() - cpu);
    }
    const double scale = static_cast<double>(cells(all)) / static_cast<double>(cells(tokens));
    time.median = time.best *= scale;
    time.cpu *= scale;
    const double count = static_cast<double>(cells(all) * sequences);
    const std::string note = scale > 1 ? fmt::format("from {} of {} tokens", tokens, all) : "";
    report_.add({network.name, work, time, count * cell_flop(network), static_cast<double>(arguments_.frames * sequences), "frames", note});
  }

  void rollout(const Network& network, df::CausalModel& model, const df::Diffusion& diffusion, const df::RolloutConfig& config,
               int64_t sequences, const std::string& work) {
    const at::NoGradGuard no_grad;
    df::RolloutInput input;
    input.z = model.initial_latent(sequences, {});
    long_run(
        network, work, sequences, [&](int64_t tokens) { return tokens * config.steps; },
        [&](int64_t tokens) {
          input.tokens = tokens;
          df::rollout(model, diffusion, config, input, [](int64_t, const Tensor&) {});
        });
  }

  // Rows and tokens one after the other, every cell of the pyramid's matrix: what the authors' loop does.
  void naive(const Network& network, df::CausalModel& model, const df::Diffusion& diffusion, const df::RolloutConfig& config,
             int64_t sequences, const std::string& work) {
    const auto levels = df::ladder(diffusion.schedule.levels(), config.steps);
    df::PlanPolicy policy;
    policy.unchanged = df::Unchanged::reference;
    const auto matrix = [&](int64_t tokens) { return df::make_matrix(df::MatrixKind::pyramid, tokens, levels, config.slope); };
    long_run(
        network, work, sequences,
        [&](int64_t tokens) {
          return (df::start_row(df::MatrixKind::pyramid, tokens - 1, tokens, config.steps, config.slope) + config.steps) * tokens;
        },
        [&](int64_t tokens) {
          df::SampleInput input;
          input.x = df::seeded_normal(df::shape({sequences, tokens}, model.token_shape()), 1).to(on_.device());
          input.z = model.initial_latent(sequences, {});
          df::sample(model, diffusion, df::compile(matrix(tokens), policy), config.sampler, input);
        });
  }

  void world() {
    const auto& cpu = df::accelerator("cpu");
    for (const Network& network : networks_) {
      if (network.name != "quick" && network.name != "video") continue;
      const auto data = df::make_dataset(network.experiment.data, df::Split::train);
      const double frames = static_cast<double>(data->spec().tokens * data->spec().token.frame_stack);
      int64_t index = 0;
      Row row{network.name, fmt::format("clip of {} frames, one thread", frames), {}, 0.0, frames, "frames"};
      row.time = df::bench::measure(cpu, arguments_.seconds, 3, [&] { data->get(index++); });
      report_.add(std::move(row));
    }
  }

  static Row named(Row row, std::string work) {
    row.work = std::move(work);
    return row;
  }

  // Operations of one denoise call for one token, counted on the CPU.
  static double cell_flop(const Network& network) {
    const at::NoGradGuard no_grad;
    const auto model = df::make_model(network.experiment.model, network.token, 0);
    const auto x = at::zeros(df::shape({1}, model->token_shape())), z = at::zeros(df::shape({1}, model->latent_shape()));
    return df::bench::FlopCounter::count([&] { model->step(x, at::ones({1}, at::kLong), {}, z); });
  }

  const Arguments& arguments_;
  const df::Accelerator& on_;
  bool cpu_, bf16_;
  int threads_;
  std::vector<Network> networks_;
  df::bench::Report report_;
};

int bench(Arguments arguments) {
  for (const std::string& name : arguments.cases)
    if (!all_cases.count(name))
      throw df::ConfigError(fmt::format("--cases: unknown case '{}'; expected quick, video, dmlab, maze, rollout or world", name));
  if (!(arguments.seconds > 0)) throw df::ConfigError(fmt::format("--seconds: expected more than 0, got {}", arguments.seconds));
  if (arguments.frames < 1) throw df::ConfigError(fmt::format("--frames: expected at least 1, got {}", arguments.frames));
  if (arguments.threads > 0) at::set_num_threads(static_cast<int>(arguments.threads));
  const auto& on = df::accelerator(arguments.device);
  if (arguments.precision.empty()) arguments.precision = on.device().is_cpu() ? "fp32" : "bf16";
  Bench(arguments, on).run();
  return df::app::success;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Measure calls, training steps and rollouts on this machine, beside the rate of its matrix products.", "df-bench");
  app.footer(examples);
  Arguments arguments;
  app.add_option("--device", arguments.device, "cpu, cuda, cuda:<index> or auto")->capture_default_str();
  app.add_option("--cases", arguments.cases, "which, separated by commas [all]")->delimiter(',')->type_name("NAMES");
  app.add_option("--seconds", arguments.seconds, "for each measurement")->capture_default_str();
  app.add_option("--frames", arguments.frames, "of a rollout")->capture_default_str();
  app.add_option("--precision", arguments.precision, "fp32 or bf16 [cpu: fp32, cuda: bf16]")->check(CLI::IsMember({"fp32", "bf16"}));
  app.add_option("--threads", arguments.threads, "CPU threads, 0: all")->capture_default_str();
  app.add_option("--json", arguments.json, "write the rows there, too")->type_name("FILE");
  return df::app::run(app, argc, argv, [&] { return bench(arguments); });
}
