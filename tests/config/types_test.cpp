// SPDX-License-Identifier: MIT
// Types of a program's own beside those of the library: read from YAML, dumped, listed, made.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "diffusion_forcing/config/experiment.hpp"
#include "diffusion_forcing/core/file.hpp"
#include "diffusion_forcing/models/causal_model.hpp"
#include "diffusion_forcing/models/mlp_gru.hpp"
#include "support/support.hpp"

namespace own {  // not the library's namespace: everything must be found by its arguments

struct SineConfig {
  static constexpr const char* type = "sine";
  int64_t tokens = 8;
  double periods = 2;
  template <class V>
  void visit(V&& v) {
    v("tokens", tokens, "of a wave");
    v("periods", periods, "of a wave");
  }
};

class Sines : public df::Dataset {
 public:
  explicit Sines(SineConfig config) : config_(config) {}
  df::DataSpec spec() const override { return {{{2}, 0, {}, 1}, config_.tokens, 0.0, 1.0}; }
  int64_t size() const override { return 4; }
  df::Batch get(int64_t, int64_t) const override {
    df::Batch batch;
    batch.x = at::zeros({config_.tokens, 2});
    return batch;
  }
  std::string describe() const override { return "sines"; }

 private:
  SineConfig config_;
};

std::shared_ptr<const df::Dataset> make(const SineConfig& config, df::Split) { return std::make_shared<Sines>(config); }
void validate(const SineConfig& config) {
  if (config.tokens < 1) throw df::Error("data.tokens: expected at least 1, got " + std::to_string(config.tokens));
}

// A model of the library under another name.
struct BriefConfig {
  static constexpr const char* type = "brief";
  int64_t latent = 4;
  template <class V>
  void visit(V&& v) {
    v("latent", latent, "");
  }
};
std::shared_ptr<df::CausalModel> make(const BriefConfig& config, const df::TokenSpec& spec, at::Generator generator) {
  df::MlpGruConfig inner;
  inner.width = 4;
  inner.latent = config.latent;
  return df::make(inner, spec, std::move(generator));
}

}  // namespace own

namespace df {
namespace {

using test::error_of;

Types types() {
  Types all = builtin_types();
  all.data.add<own::SineConfig>();
  all.models.add<own::BriefConfig>();
  return all;
}

const std::string yaml = "data: {type: sine, periods: 5}\nmodel: {type: brief, latent: 6}\n";

TEST(Types, OwnOnesAreReadDumpedAndReadAgain) {
  const Types known = types();
  const ExperimentConfig config = parse_experiment(yaml, "a.yaml", {"data.tokens=3"}, known);
  EXPECT_EQ(config.data.type(), "sine");
  EXPECT_EQ(config.data.get<own::SineConfig>().periods, 5);
  EXPECT_EQ(config.data.get<own::SineConfig>().tokens, 3);
  const std::string dump = dump_experiment(config);
  EXPECT_NE(dump.find("data:\n  type: sine\n  tokens: 3                       # of a wave\n  periods: 5.0"), std::string::npos) << dump;
  EXPECT_EQ(dump_experiment(parse_experiment(dump, "dump", {}, known)), dump);
}

TEST(Types, OwnOnesAreMade) {
  const ExperimentConfig config = parse_experiment(yaml, "a.yaml", {}, types());
  const auto data = make_dataset(config.data, Split::train);
  EXPECT_EQ(data->describe(), "sines");
  EXPECT_EQ(make_model(config.model, data->spec().token, 1)->latent_shape(), (Shape{6}));
  EXPECT_FALSE(config.data->check_files().has_value());
}

TEST(Types, ErrorsListOwnOnesBesideOurs) {
  EXPECT_EQ(error_of([] { parse_experiment("model: {type: brie}", "a.yaml", {}, types()); }),
            "a.yaml:1: model.type: unknown type 'brie'; expected one of: unet_gru, mlp_gru, temporal_unet, brief; did you mean 'brief'?");
  EXPECT_EQ(error_of([] { parse_experiment(yaml, "a.yaml"); }),
            "a.yaml:1: data.type: unknown type 'sine'; expected one of: maze_video, video_folder, teco_npz, maze2d, maze2d_paths");
  EXPECT_EQ(error_of([] { parse_experiment("data: {type: sine, tokenz: 2}", "a.yaml", {}, types()); }),
            "a.yaml:1: data.tokenz: unknown key; did you mean 'tokens'? known keys: type, tokens, periods");
  Types twice = types();
  EXPECT_EQ(error_of([&] { twice.data.add<own::SineConfig>(); }), "data: two types are named 'sine'");
}

TEST(Types, OwnRangesAreCheckedWithTheExperiment) {
  EXPECT_EQ(error_of([] { validate(parse_experiment(yaml, "a.yaml", {"data.tokens=0"}, types())); }),
            "data.tokens: expected at least 1, got 0");
}

TEST(Choice, CopiesAreIndependentAndCompareByValue) {
  DataConfig a = own::SineConfig{};
  DataConfig b = a;
  EXPECT_TRUE(a == b);
  b.get<own::SineConfig>().tokens = 9;
  EXPECT_FALSE(a == b);
  EXPECT_EQ(a.get<own::SineConfig>().tokens, 8);
  EXPECT_EQ(a.get_if<own::SineConfig>()->tokens, 8);
  const ModelConfig model = own::BriefConfig{};
  EXPECT_EQ(model.get_if<MlpGruConfig>(), nullptr);
  EXPECT_EQ(error_of([&] { model.get<MlpGruConfig>(); }), "model.type: expected mlp_gru, got brief");
  EXPECT_EQ(error_of([] { PlanningConfig().type(); }), "planning.type: nothing was chosen");
}

TEST(Experiment, AnotherDataTypeKeepsTheSizesOfTheFile) {
  const std::string file = "data: {type: maze_video, height: 32, width: 24, frames: 16, frame_stack: 2, actions: true, clips: 5}\n";
  const std::string dump = dump_experiment(parse_experiment(file, "a.yaml", {"data.type=video_folder", "data.frames=8"}));
  for (const char* line : {"type: video_folder", "height: 32", "width: 24", "frames: 8", "frame_stack: 2"})
    EXPECT_NE(dump.find(line), std::string::npos) << line << "\n" << dump;
  EXPECT_EQ(parse_experiment(file, "a.yaml", {"data.type=sine"}, types()).data.get<own::SineConfig>().tokens, 8);  // has no such keys
}

// A schedule file is looked for beside the experiment first; one from the command line in the working directory alone.
TEST(Experiment, AScheduleFileIsFoundBesideTheExperimentOrInTheWorkingDirectory) {
  namespace fs = std::filesystem;
  const test::TemporaryFolder folder;
  const fs::path there = folder.path() / "there", here = folder.path() / "here", before = fs::current_path();
  write_atomically(there / "a.yaml", "sampling: {schedule: mine.csv}\n");
  write_atomically(here / "mine.csv", "1\n0\n");
  fs::current_path(here);
  EXPECT_EQ(load_experiment(there / "a.yaml").sampling.schedule, "mine.csv");  // as it stands: in the working directory
  write_atomically(there / "mine.csv", "1\n0\n");
  EXPECT_EQ(load_experiment(there / "a.yaml").sampling.schedule, (there / "mine.csv").string());
  EXPECT_EQ(load_experiment(there / "a.yaml", {"sampling.schedule=mine.csv"}).sampling.schedule, "mine.csv");
  EXPECT_EQ(load_experiment(there / "a.yaml", {"sampling.schedule=pyramid"}).sampling.schedule, "pyramid");
  fs::current_path(before);
}

}  // namespace
}  // namespace df
