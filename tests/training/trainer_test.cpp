// SPDX-License-Identifier: MIT
#include "diffusion_forcing/training/trainer.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>

#include <atomic>
#include <mutex>
#include <set>
#include <thread>

#include "diffusion_forcing/core/file.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/data/loader.hpp"
#include "support/support.hpp"
#include "training/process.hpp"

namespace df {
namespace {

using test::close;
using test::error_of;
using test::identical;
using test::TemporaryFolder;

using test::expect_close;
using test::expect_identical;
using test::Process;
using test::saved;
using test::seed;
using test::small;
using test::tokens;
using test::width;

TEST(Trainer, Learns) {
  auto config = small();
  config.steps = 200;
  Process run(config);
  const auto losses = run.steps(200);
  EXPECT_LT(losses.back(), 0.8 * losses.front());
  EXPECT_EQ(run.trainer->steps_done(), 200);
}

TEST(Trainer, StepIsTheTextbookStep) {
  const auto config = small();
  Process run(config);
  // The same step by hand: same batch, same draws, gradient by backward(), AdamW from a zero state.
  Loader loader(run.data, {config.batch, 0, 1}, seed, 0);
  const Batch batch = loader.next();
  auto generator = make_generator(derive_seed(seed, Stream::levels, 0));
  const auto k = at::randint(1, 4, {config.batch, tokens, 1}, generator, at::TensorOptions(at::kLong));
  const auto eps = at::randn(batch.x.sizes(), generator, at::TensorOptions(at::kFloat));
  auto w1 = run.weights[0].second.detach().clone().requires_grad_(), w2 = run.weights[1].second.detach().clone().requires_grad_();
  const auto before = w1.detach().clone();
  const auto loss = ((batch.x + k.to(at::kFloat) * eps).matmul(w1).tanh().matmul(w2) - batch.x).pow(2).mean();
  loss.backward();
  const auto norm = at::sqrt(w1.grad().pow(2).sum() + w2.grad().pow(2).sum());
  const auto g = w1.grad() * (config.optimizer.clip / (norm + 1e-6)).clamp_max(1.0);
  // The first step runs at the first warm-up rate, not at the peak: bias correction makes the moments g and g^2.
  const double rate = config.optimizer.learning_rate / static_cast<double>(config.optimizer.warmup);
  const auto expected = before * (1.0 - rate * config.optimizer.weight_decay) - rate * g / (g.abs() + config.optimizer.eps);

  EXPECT_NEAR(run.trainer->step(), loss.item<double>(), 1e-6);
  EXPECT_TRUE(close(run.weights[0].second - before, expected - before, 1e-3));
  EXPECT_TRUE(identical(run.weights[2].second.detach(), seeded_normal({2}, 3))) << "a parameter without gradient stays";
}

TEST(Trainer, ResumeIsExact) {
  for (const int64_t workers : {0, 2})
    for (const int64_t accumulate : {1, 2})
      for (const int64_t loader_workers : {0, 2}) {
        SCOPED_TRACE(testing::Message() << workers << " workers, accumulate " << accumulate << ", loader " << loader_workers);
        auto config = small();
        config.cpu_workers = workers;
        config.accumulate = accumulate;
        config.loader_workers = loader_workers;
        Process whole(config);
        const auto losses = whole.steps(10);

        const TemporaryFolder folder;
        {
          Process first(config);
          first.steps(5);
          first.trainer->save(folder.path());
        }
        const auto checkpoint = latest_checkpoint(folder.path()).value();
        Process second(config, inspect_checkpoint(checkpoint).step);
        for (auto& [name, tensor] : second.weights)
          if (tensor.requires_grad()) tensor.detach().fill_(9.0);
        second.trainer->load(checkpoint);
        EXPECT_EQ(second.trainer->steps_done(), 5);
        const auto rest = second.steps(5);
        EXPECT_EQ(rest, std::vector<double>(losses.begin() + 5, losses.end()));
        expect_identical(saved(whole), saved(second));
      }
}

TEST(Trainer, PartsAndWorkersChangeOnlyTheRounding) {
  Process plain(small());
  const auto losses = plain.steps(10);
  const auto expected = saved(plain);
  for (const auto& [accumulate, workers] : {std::pair<int64_t, int64_t>{4, 0}, {1, 2}, {3, 0}, {2, 3}}) {
    SCOPED_TRACE(testing::Message() << "accumulate " << accumulate << ", " << workers << " workers");
    auto config = small();
    config.accumulate = accumulate;
    config.cpu_workers = workers;
    Process run(config);
    const auto others = run.steps(10);
    for (size_t i = 0; i < losses.size(); ++i) EXPECT_NEAR(others[i], losses[i], 1e-5);
    expect_close(saved(run), expected, 1e-5);
  }
}

TEST(Trainer, WorkersRunAtOnceOnOneThreadEach) {
  const int before = at::get_num_threads();
  at::set_num_threads(2);  // what a thread takes with its first operator, unless the pool says otherwise
  auto config = small();
  config.cpu_workers = 2;
  Process run(config);
  std::mutex mutex;
  std::set<std::thread::id> threads;
  std::set<int> intra;
  run.on_loss = [&] {
    const std::lock_guard lock(mutex);
    threads.insert(std::this_thread::get_id());
    const Tensor first_operator = at::ones(8) + 1;
    intra.insert(at::get_num_threads());
  };
  run.steps(3);
  at::set_num_threads(before);
  EXPECT_EQ(threads.size(), 2u) << "the same two threads in every step";
  EXPECT_EQ(threads.count(std::this_thread::get_id()), 0u);
  EXPECT_EQ(intra, std::set<int>{1});
}

TEST(Trainer, DivergenceStopsWithAMessage) {
  for (const double value : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    Process run(small());
    run.steps(3);
    run.spoil = [&](const Tensor& loss) { return loss * value; };
    const auto message = error_of([&] { run.trainer->step(); });
    EXPECT_NE(message.find("step 4: training diverged: loss "), std::string::npos) << message;
    EXPECT_NE(message.find("gradient norm"), std::string::npos);
    EXPECT_NE(message.find("learning rate 0.01"), std::string::npos) << message;
    EXPECT_NE(message.find("precision: fp32"), std::string::npos) << message;
  }
  // A finite loss with a gradient that is not.
  Process run(small());
  run.spoil = [](const Tensor& loss) { return loss.detach() + (loss - loss.detach()).sqrt(); };
  const auto message = error_of([&] { run.trainer->step(); });
  EXPECT_NE(message.find("step 1: training diverged"), std::string::npos) << message;
}

TEST(Trainer, DivergedRunKeepsItsLastGoodCheckpoint) {
  const TemporaryFolder folder;
  auto config = small();
  config.checkpoint_every = 2;
  Process run(config);
  run.spoil = [&](const Tensor& loss) { return run.trainer->steps_done() < 4 ? loss : loss / 0.0; };
  error_of([&] { run.trainer->run(folder.path(), {}); });
  const auto latest = latest_checkpoint(folder.path()).value();
  EXPECT_EQ(latest.filename(), "step_4");
  for (const auto& [name, tensor] : read_safetensors(latest / "model.safetensors").tensors)
    EXPECT_TRUE(at::isfinite(tensor).all().item<bool>()) << name;
}

TEST(Trainer, RunReportsValidatesAndSaves) {
  const TemporaryFolder folder;
  auto config = small();
  config.validate_every = 4;
  config.sample_every = 5;
  config.checkpoint_every = 3;
  config.keep_checkpoints = 2;
  Process run(config);
  Process twin(config);
  const auto losses = twin.steps(10);
  std::vector<StepReport> reports;
  std::vector<int64_t> validated, sampled;
  TrainerHooks hooks;
  hooks.on_report = [&](const StepReport& report) { reports.push_back(report); };
  hooks.on_validate = [&](int64_t step) {
    validated.push_back(step);
    // Averaged weights are in place: not those that the twin would have, and training and saving are barred.
    EXPECT_NE(error_of([&] { run.trainer->step(); }).find("averaged weights"), std::string::npos);
    EXPECT_NE(error_of([&] { run.trainer->save(folder.path()); }).find("averaged weights"), std::string::npos);
  };
  hooks.on_sample = [&](int64_t step) { sampled.push_back(step); };
  run.trainer->run(folder.path(), hooks);
  EXPECT_EQ(validated, (std::vector<int64_t>{4, 8, 10}));
  EXPECT_EQ(sampled, (std::vector<int64_t>{5, 10}));
  ASSERT_EQ(reports.size(), 5u);
  EXPECT_EQ(reports[1].step, 4);
  EXPECT_NEAR(reports[1].loss, (losses[2] + losses[3]) / 2, 1e-6);
  EXPECT_GT(reports[1].gradient_norm, 0.0);
  EXPECT_DOUBLE_EQ(reports[0].rate, learning_rate(config.optimizer, 1, 10)) << "the rate that step 2 ran at";
  EXPECT_GT(reports[1].steps_per_second, 0.0);
  EXPECT_NEAR(reports[1].seconds_left, 6.0 / reports[1].steps_per_second, 1e-9);
  EXPECT_EQ(reports[4].seconds_left, 0.0);
  EXPECT_EQ(latest_checkpoint(folder.path()).value().filename(), "step_10");
  EXPECT_TRUE(fs::exists(folder.path() / "checkpoints" / "step_9"));
  EXPECT_FALSE(fs::exists(folder.path() / "checkpoints" / "step_6"));
  expect_identical(saved(run), saved(twin));
}

TEST(Trainer, StopSavesAndRunGoesOn) {
  const TemporaryFolder folder;
  auto config = small();
  config.validate_every = 1000;
  Process whole(config);
  whole.trainer->run(folder.path() / "whole", {});
  Process first(config);
  int asked = 0;
  TrainerHooks hooks;
  hooks.on_validate = [](int64_t) { ADD_FAILURE() << "who asks to stop does not want to wait"; };
  first.trainer->run(folder.path() / "parts", hooks, [&] { return ++asked == 3; });
  EXPECT_EQ(first.trainer->steps_done(), 3);
  const auto checkpoint = latest_checkpoint(folder.path() / "parts").value();
  EXPECT_EQ(checkpoint.filename(), "step_3");
  Process second(config, 3);
  second.trainer->load(checkpoint);
  second.trainer->run(folder.path() / "parts", {});
  expect_identical(saved(second), saved(whole));
}

TEST(Trainer, EmaIsSwappedInAndOut) {
  auto config = small();
  Process run(config);
  const auto start = run.weights[0].second.detach().clone();
  run.steps(1);
  const auto after = run.weights[0].second.detach().clone();
  run.trainer->swap_ema();
  // After step 0 the decay is min(0.9, 1 / 10).
  EXPECT_TRUE(close(run.weights[0].second, 0.1 * start + 0.9 * after, 1e-6));
  EXPECT_FALSE(at::equal(run.weights[0].second, after));
  run.trainer->swap_ema();
  EXPECT_TRUE(identical(run.weights[0].second.detach(), after));

  const TemporaryFolder folder;
  run.trainer->save(folder.path());
  auto into = run.weights;
  for (auto& [name, tensor] : into) tensor = at::empty_like(tensor.detach());
  load_weights(latest_checkpoint(folder.path()).value() / "ema.safetensors", into);  // a whole set of weights: buffers too
  EXPECT_TRUE(close(into[0].second, 0.1 * start + 0.9 * after, 1e-6));
  EXPECT_TRUE(identical(into[3].second, at::arange(4)));

  config.ema = 0.0;
  Process plain(config);
  plain.steps(1);
  const auto weights = plain.weights[0].second.detach().clone();
  plain.trainer->swap_ema();
  EXPECT_TRUE(identical(plain.weights[0].second.detach(), weights));
}

TEST(Trainer, LoadRefusesWhatDoesNotFit) {
  const TemporaryFolder folder;
  Process run(small());
  run.steps(2);
  run.trainer->save(folder.path());
  const auto checkpoint = latest_checkpoint(folder.path()).value();
  Process other_seed(small(), 2, seed + 1);
  EXPECT_NE(error_of([&] { other_seed.trainer->load(checkpoint); }).find("seed: expected 12 (of this run), got 11"), std::string::npos);
  Process other_place(small(), 0);
  EXPECT_NE(error_of([&] { other_place.trainer->load(checkpoint); }).find("must start at batch 2, but is at 0"), std::string::npos);
  auto no_ema = small();
  no_ema.ema = 0.0;
  Process without(no_ema);
  without.steps(2);
  const TemporaryFolder second;
  without.trainer->save(second.path());
  Process with(small(), 2);
  EXPECT_NE(error_of([&] { with.trainer->load(latest_checkpoint(second.path()).value()); }).find("no averaged weights"), std::string::npos);
}

TEST(Trainer, Bf16IsInTheForwardPassOnly) {
  auto config = small();
  config.precision = Precision::bf16;
  for (const int64_t workers : {0, 2}) {
    config.cpu_workers = workers;
    Process run(config), exact(small());
    std::atomic<int> inside{0}, calls{0};
    run.on_loss = [&] {
      ++calls;
      if (at::matmul(run.weights[0].second.t(), run.weights[0].second).scalar_type() == at::kBFloat16) ++inside;
    };
    const double loss = run.trainer->step(), expected = exact.trainer->step();
    EXPECT_EQ(inside, calls);
    EXPECT_NEAR(loss, expected, 0.02 * expected);
    EXPECT_NE(loss, expected);
    EXPECT_FALSE(at::autocast::is_autocast_enabled(at::kCPU));
    EXPECT_EQ(run.weights[0].second.scalar_type(), at::kFloat);
    // Weights that were cast in one step must not be used in the next.
    const double second = run.trainer->step(), second_exact = exact.trainer->step();
    EXPECT_NEAR(second, second_exact, 0.02 * second_exact);
  }
}

TEST(TrainerConfig, RangesNameTheKey) {
  const auto message = [](const std::function<void(TrainerConfig&)>& change) {
    auto config = small();
    change(config);
    return error_of([&] { validate(config); });
  };
  EXPECT_EQ(message([](auto& c) { c.steps = 0; }), "training.steps: expected at least 1, got 0");
  EXPECT_EQ(message([](auto& c) { c.ema = 1.0; }), "training.ema: expected 0 (none) or a decay below 1, got 1");
  EXPECT_NE(
      message([](auto& c) { c.accumulate = 3, c.cpu_workers = 3; }).find("training.batch: expected at least accumulate x cpu_workers = 9"),
      std::string::npos);
  EXPECT_NE(message([](auto& c) { c.optimizer.learning_rate = -1; }).find("training.learning_rate"), std::string::npos);
  validate(small());
}

}  // namespace
}  // namespace df
