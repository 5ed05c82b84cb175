// SPDX-License-Identifier: MIT
// Rows of a model call shared among threads: the same results as one call, in the state of the calling thread.
#include "sampling/row_workers.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>

#include <mutex>
#include <set>
#include <thread>

#include "diffusion_forcing/config/roles.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/models/unet_gru.hpp"
#include "diffusion_forcing/sampling/rollout.hpp"
#include "support/support.hpp"

namespace df {
namespace {

using test::close;
using test::identical;

// Doubles x and remembers who called it, with how many rows and in which state.
class Probe final : public CausalModel {
 public:
  Probe() { register_parameter("weight", at::ones({1})); }
  TokenOutput step(const Tensor& x, const Tensor& k, const Tensor& c, const Tensor& z) override {
    if (x.size(0) > 0 && x[0][0].item<float>() < -100) throw Error("probe: row out of range");
    const std::lock_guard lock(mutex);
    threads.insert(std::this_thread::get_id());
    rows.insert(x.size(0));
    with_gradients = with_gradients || c10::GradMode::is_enabled();
    without_autocast = without_autocast || !at::autocast::is_autocast_enabled(at::kCPU);
    intra_op.insert(at::get_num_threads());
    return {2 * x + k.unsqueeze(1) + (c.defined() ? c : at::zeros_like(x)), z + 1};
  }
  Tensor initial_latent(int64_t batch, const Tensor&) override { return at::zeros({batch, 2}); }
  Shape token_shape() const override { return {3}; }
  Shape latent_shape() const override { return {2}; }
  int64_t condition_dim() const override { return 0; }

  std::mutex mutex;
  std::set<std::thread::id> threads;
  std::set<int64_t> rows;
  std::set<int> intra_op;
  bool with_gradients = false, without_autocast = false;
};

struct Inputs {
  Tensor x, k, c, z;
};
Inputs inputs(int64_t rows) {
  return {seeded_normal({rows, 3}, 1), at::arange(rows), seeded_normal({rows, 3}, 2), seeded_normal({rows, 2}, 3)};
}

TEST(RowWorkers, EveryRowOnceInOrder) {
  const at::NoGradGuard no_grad;
  for (const int64_t workers : {1, 2, 3, 5})
    for (const int64_t rows : {1, 2, 3, 4, 7, 16}) {
      Probe probe;
      RowWorkers pool(workers);
      const Inputs in = inputs(rows);
      for (const Tensor& c : {in.c, Tensor()}) {
        const TokenOutput shared = pool.step(probe, in.x, in.k, c, in.z), whole = probe.step(in.x, in.k, c, in.z);
        EXPECT_TRUE(identical(shared.prediction, whole.prediction)) << workers << " workers, " << rows << " rows";
        EXPECT_TRUE(identical(shared.z, whole.z)) << workers << " workers, " << rows << " rows";
      }
    }
}

TEST(RowWorkers, RunInTheStateOfTheCaller) {
  const int threads = at::get_num_threads();
  at::set_num_threads(2);
  Probe probe;
  {
    const at::NoGradGuard no_grad;
    RowWorkers pool(3);
    at::autocast::set_autocast_enabled(at::kCPU, true);
    const Inputs in = inputs(8);
    pool.step(probe, in.x, in.k, in.c, in.z);
    at::autocast::set_autocast_enabled(at::kCPU, false);
    EXPECT_EQ(probe.threads.size(), 3u);
    EXPECT_EQ(probe.threads.count(std::this_thread::get_id()), 0u);
    EXPECT_EQ(probe.rows, (std::set<int64_t>{2, 3}));
    EXPECT_EQ(probe.intra_op, std::set<int>{1});
    EXPECT_FALSE(probe.with_gradients);
    EXPECT_FALSE(probe.without_autocast);
    const Inputs one = inputs(1);
    probe.intra_op.clear();
    pool.step(probe, one.x, one.k, one.c, one.z);
    EXPECT_EQ(probe.threads.count(std::this_thread::get_id()), 1u);
    EXPECT_EQ(probe.intra_op, std::set<int>{1});
  }
  EXPECT_EQ(at::get_num_threads(), 2);
  at::set_num_threads(threads);
}

TEST(RowWorkers, ErrorsComeThrough) {
  const at::NoGradGuard no_grad;
  Probe probe;
  RowWorkers pool(2);
  Inputs in = inputs(4);
  in.x[2].fill_(-1000);
  EXPECT_EQ(test::error_of([&] { pool.step(probe, in.x, in.k, in.c, in.z); }), "probe: row out of range");
  const at::AutoGradMode with_gradients(true);
  EXPECT_EQ(test::error_of([&] { pool.step(probe, in.x, in.k, in.c, in.z); }),
            "sampling: rows are shared among workers without gradients only");
}

// Whole rollouts, with more workers than rows at both ends of the pyramid.
TEST(RowWorkers, RolloutsDoNotDependOnTheirNumber) {
  UnetGruConfig network;
  network.width = 8;
  network.latent = 4;
  network.multipliers = {1, 2};
  network.blocks = 1;
  network.attention = {Attention::none, Attention::linear};
  network.stem_kernel = 3;
  const auto model = make_model(network, TokenSpec{{2, 4, 4}, 0, {}, 1}, 2);
  DiffusionConfig diffusion_config;
  diffusion_config.output = Space::x0;
  const Diffusion diffusion = make_diffusion(diffusion_config);
  for (const int64_t batch : {1, 3})
    for (const double eta : {0.0, 1.0}) {
      RolloutConfig config;
      config.schedule = "pyramid";
      config.steps = 4;
      config.sampler.eta = eta;
      RolloutInput input;
      input.tokens = 11;  // the ring of slots grows on the way
      input.z = model->initial_latent(batch, {}).detach();
      input.seed = 4;
      Tensor expected;
      for (const int64_t workers : {0, 1, 2, 3, 9}) {
        config.sampler.cpu_workers = workers;
        std::vector<Tensor> tokens;
        rollout(*model, diffusion, config, input, [&](int64_t, const Tensor& x) { tokens.push_back(x.clone()); });
        const Tensor x = at::stack(tokens, 1);
        if (workers == 0) expected = x;
        EXPECT_TRUE(close(x, expected, 1e-5)) << workers << " workers, batch " << batch << ", eta " << eta;
      }
    }
}

}  // namespace
}  // namespace df
