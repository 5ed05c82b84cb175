// SPDX-License-Identifier: MIT
// The whole way in one function: read an experiment, train it, roll it out, write the video.
//   example_train_and_roll_out configs/video_quick.yaml training.steps=200
#include <cstdio>
#include <string>
#include <vector>

#include "diffusion_forcing/data/video_tokens.hpp"
#include "diffusion_forcing/media/media.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/procedures/procedures.hpp"

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.empty()) return std::puts("usage: example_train_and_roll_out EXPERIMENT.yaml [key=value]..."), 2;

  const df::ExperimentConfig config = df::load_experiment(arguments[0], {arguments.begin() + 1, arguments.end()});
  df::TrainOptions options;
  options.out = "runs/example";
  df::TrainedModel trained = df::load_trained(df::train(config, options), {}, "cpu");

  df::RolloutInput input;
  input.tokens = 25;  // a token is a stack of frames
  input.z = trained.model->initial_latent(1, {});
  const auto video = df::create_video("example.mp4", 15.0);
  df::rollout(*trained.model, trained.diffusion, config.sampling, input, [&](int64_t, const df::Tensor& x) {
    const auto frames = df::tokens_to_frames(x, trained.spec.token.frame_stack, trained.spec.mean, trained.spec.std);
    for (int64_t f = 0; f < frames.size(0); ++f) video->write(frames[f]);
  });
  video->close();
  std::puts("example.mp4");
}
