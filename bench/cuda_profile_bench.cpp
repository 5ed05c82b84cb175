// SPDX-License-Identifier: MIT
// Which operators and CUDA kernels the time of a U-Net goes to, forward and backward of a few tokens or (0 tokens) in one denoise call
// without gradients; and how long the device is busy when the same is recorded.
//   bench_cuda_profile [dmlab | video] [tokens] [batch]
#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <fmt/format.h>
#include <torch/autograd.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "core/autocast.hpp"
#include "diffusion_forcing/config/roles.hpp"
#include "diffusion_forcing/core/accelerator.hpp"
#include "diffusion_forcing/core/shape.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/models/unet_gru.hpp"
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
  if (!call) at::globalContext().setBenchmarkLimitCuDNN(0);  // as training does
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
  const auto of_a = static_cast<double>(std::max<int64_t>(1, tokens));
  const auto print = [&](const char* way, const bench::Profile& profile, const std::vector<bench::Kernel>& parts, size_t most) {
    double total = 0.0, calls = 0.0;
    for (const auto& part : parts) {
      total += part.ms;
      calls += static_cast<double>(part.calls);
    }
    fmt::print("{}, batch {}, {}: a {} takes {:.3f} ms, some kernel runs in {:.3f} ms of them; {:.0f} kernels of {:.3f} ms in sum\n",
               network, batch, way, call ? "call" : "token", profile.span_ms / of_a, profile.busy_ms / of_a, calls / of_a, total / of_a);
    for (size_t i = 0; i < std::min(parts.size(), most); ++i)
      fmt::print("{:8.3f} ms {:5.1f} calls  {}\n", parts[i].ms / of_a, static_cast<double>(parts[i].calls) / of_a,
                 parts[i].name.substr(0, 170));
  };
  const auto eager = bench::profile(on, step);
  print("one operator at a time", eager, eager.operators, 80);
  print("one operator at a time", eager, eager.kernels, 60);
  if (const auto graph = on.capture(step)) {
    graph->replay();
    const auto recorded = bench::profile(on, [&] { graph->replay(); });
    print("recorded", recorded, recorded.kernels, 10);
  }
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
