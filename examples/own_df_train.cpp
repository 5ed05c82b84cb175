// SPDX-License-Identifier: MIT
// A df-train of one's own: experiment files may say `data: {type: sine}`, which the library does not know. See own_df_train.yaml.
//   example_own_df_train own_df_train.yaml [RUN FOLDER]
#include <ATen/ATen.h>

#include <cmath>
#include <cstdio>
#include <diffusion_forcing/diffusion_forcing.hpp>

struct SineConfig {
  static constexpr const char* type = "sine";
  int64_t tokens = 16;
  std::vector<double> periods = {2, 5};
  template <class V>
  void visit(V&& v) {
    v("tokens", tokens, "of a wave, four samples each");
    v("periods", periods, "that waves may have");
  }
};

class Sines : public df::Dataset {
 public:
  explicit Sines(const SineConfig& config) : config_(config) {}
  df::DataSpec spec() const override { return {{{4}, 0, {}, 4}, config_.tokens, 0.0, 1.0}; }
  int64_t size() const override { return 1000; }
  df::Batch get(int64_t index, int64_t length) const override {
    const int64_t T = length > 0 ? length : config_.tokens;
    const double periods = config_.periods[static_cast<size_t>(index) % config_.periods.size()];
    return {at::arange(T * 4, at::kFloat).mul(2 * M_PI * periods / (config_.tokens * 4.0)).add(index * 0.7).sin().view({T, 4})};
  }
  std::string describe() const override { return "sine waves"; }

 private:
  SineConfig config_;
};

// Found by its argument; both splits are the same here.
std::shared_ptr<const df::Dataset> make(const SineConfig& config, df::Split) { return std::make_shared<Sines>(config); }

int main(int argc, char** argv) try {
  if (argc < 2) return std::puts("usage: example_own_df_train EXPERIMENT.yaml [RUN FOLDER]"), 2;
  df::Types types = df::builtin_types();
  types.data.add<SineConfig>();
  const df::ExperimentConfig config = df::load_experiment(argv[1], {}, types);
  const auto run = df::train(config, {.out = argc > 2 ? argv[2] : "", .device = "cpu"}, types);
  std::printf("%s\n", df::load_trained(run, {}, "cpu", false, {}, types).weights.c_str());
} catch (const df::Error& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
