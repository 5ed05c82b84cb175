// SPDX-License-Identifier: MIT
// Which CUDA kernels the time of a U-Net goes to, run one operator at a time: forward and backward of a few tokens, or (0 tokens) one
// denoise call without gradients.
//   bench_cuda_profile [dmlab | video] [tokens] [batch]
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/autograd.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "core/autocast.hpp"
#include "diffusion_forcing/core/accelerator.hpp"
#include "diffusion_forcing/core/shape.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/models/model.hpp"
#include "kernel_profile.hpp"

namespace df {
namespace {

int run(const std::string& network, int64_t tokens, int64_t batch) {
  const auto& on = accelerator("cuda");
  const auto stream = on.use_stream();
  UnetGruConfig config;
  if (network == "video") {
    config.width = 64;
    config.latent = 32;
    config.multipliers = {1, 2, 4};
    config.attention = {Attention::none, Attention::full, Attention::full};
    config.patch = 2;
  }
  const auto model = make_model(config, {{12, 64, 64}, 0, {}, 4}, 1);
  model->to(on.device());
  std::vector<Tensor> parameters;
  for (const auto& parameter : model->parameters()) parameters.push_back(parameter);
  const auto options = at::TensorOptions(at::kFloat).device(on.device());
  const bool call = tokens == 0;
  const Shape cells = call ? Shape{batch} : Shape{batch, tokens};
  const auto x = at::randn(shape(cells, model->token_shape()), options), k = at::randint(1, 1000, cells, options.dtype(at::kLong));
  const Autocast autocast(on.device().type(), call, call);
  const auto step = [&] {
    if (call) {
      const at::NoGradGuard no_grad;
      model->step(x, k, {}, model->initial_latent(batch, {}));
      return;
    }
    Tensor loss;
    {
      const Autocast mixed(on.device().type(), true, true);
      loss = (model->unroll(x, k, {}, model->initial_latent(batch, {})).prediction - x).square().mean();
    }
    torch::autograd::grad({loss}, parameters, {}, false, false, true);
  };
  step();
  step();
  const auto kernels = bench::profile(on, step);
  double total = 0.0;
  int64_t calls = 0;
  for (const auto& kernel : kernels) {
    total += kernel.ms;
    calls += kernel.calls;
  }
  const auto per_token = static_cast<double>(std::max<int64_t>(1, tokens));
  fmt::print("{}, batch {}: {:.3f} ms of kernels a {}, {} kernels\n", network, batch, total / per_token, call ? "call" : "token",
             calls / std::max<int64_t>(1, tokens));
  for (size_t i = 0; i < std::min<size_t>(kernels.size(), 40); ++i)
    fmt::print("{:8.3f} ms {:5.1f} calls  {}\n", kernels[i].ms / per_token, static_cast<double>(kernels[i].calls) / per_token,
               kernels[i].name.substr(0, 170));
  return 0;
}

}  // namespace
}  // namespace df

int main(int argc, char** argv) {
  try {
    return df::run(argc > 1 ? argv[1] : "dmlab", argc > 2 ? std::atoll(argv[2]) : 3, argc > 3 ? std::atoll(argv[3]) : 32);
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_cuda_profile: {}\n", error.what());
    return 1;
  }
}
