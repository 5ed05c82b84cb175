// SPDX-License-Identifier: MIT
// Every way in which an experiment file or an override can be wrong, and the exact words that say so.
#include <gtest/gtest.h>

#include <fstream>

#include "diffusion_forcing/config/experiment.hpp"
#include "diffusion_forcing/config/yaml_config.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/file.hpp"
#include "diffusion_forcing/models/mlp_gru.hpp"
#include "diffusion_forcing/models/unet_gru.hpp"
#include "support/support.hpp"

namespace df {

namespace {
enum class Colour { red, green };
}  // namespace

template <>
struct EnumNames<Colour> {
  static constexpr std::pair<std::string_view, Colour> table[] = {{"red", Colour::red}, {"green", Colour::green}};
};

namespace {

namespace fs = std::filesystem;

// The error of reading `yaml` under the name "a.yaml".
std::string error_of_yaml(const std::string& yaml, const std::vector<std::string>& overrides = {}) {
  return test::error_of([&] { parse_experiment(yaml, "a.yaml", overrides); });
}

struct Inner {
  double x = 0.5;
  template <class V>
  void visit(V&& v) {
    v("x", x, "");
  }
};

struct Everything {
  bool flag = false;
  int64_t count = 0;
  int32_t small = 0;
  uint64_t size = 0;
  double rate = 0.0;
  std::string text;
  Colour colour = Colour::red;
  std::vector<int64_t> list;
  std::vector<Colour> colours;
  Inner inner;
  template <class V>
  void visit(V&& v) {
    v("flag", flag, "a switch");
    v("count", count, "");
    v("small", small, "");
    v("size", size, "");
    v("rate", rate, "");
    v("text", text, "");
    v("colour", colour, "");
    v("list", list, "");
    v("colours", colours, "");
    v("inner", inner, "");
  }
};

Everything read(const std::string& yaml) {
  Everything all;
  read_config(parse_yaml(yaml, "a.yaml"), all);
  return all;
}

std::string error_of_read(const std::string& yaml) {
  return test::error_of([&] { read(yaml); });
}

}  // namespace

TEST(Yaml, ReadsEveryKindOfField) {
  const Everything all = read(
      "flag: true\ncount: -3\nsmall: 7\nsize: 18446744073709551615\nrate: 1e-3\ntext: 'a: b'\ncolour: green\n"
      "list: [1, 2e2]\ncolours:\n  - green\n  - red\ninner: {x: 2}\n");
  EXPECT_TRUE(all.flag);
  EXPECT_EQ(all.count, -3);
  EXPECT_EQ(all.small, 7);
  EXPECT_EQ(all.size, 18446744073709551615u);
  EXPECT_EQ(all.rate, 1e-3);
  EXPECT_EQ(all.text, "a: b");
  EXPECT_EQ(all.colour, Colour::green);
  EXPECT_EQ(all.list, (std::vector<int64_t>{1, 200}));
  EXPECT_EQ(all.colours, (std::vector<Colour>{Colour::green, Colour::red}));
  EXPECT_EQ(all.inner.x, 2.0);
}

TEST(Yaml, IntegersMayBeWrittenWithAnExponent) {
  EXPECT_EQ(read("count: 1e5").count, 100000);
  EXPECT_EQ(read("count: -2.0").count, -2);
  EXPECT_EQ(read("count: +4").count, 4);
  EXPECT_EQ(read("count: 9223372036854775807").count, 9223372036854775807);
}

TEST(Yaml, AbsentKeysKeepTheirDefaults) {
  EXPECT_EQ(read("flag: true").inner.x, 0.5);
  EXPECT_EQ(parse_experiment("seed: 3", "a.yaml").diffusion.levels, DiffusionConfig{}.levels);
}

TEST(Yaml, MistypedValues) {
  EXPECT_EQ(error_of_read("\nflag: yes"), "a.yaml:2: flag: expected true or false, got 'yes'");
  EXPECT_EQ(error_of_read("count: fast"), "a.yaml:1: count: expected a 64-bit integer, got 'fast'");
  EXPECT_EQ(error_of_read("count: 1.5"), "a.yaml:1: count: expected a 64-bit integer, got '1.5'");
  EXPECT_EQ(error_of_read("count: 12 apples"), "a.yaml:1: count: expected a 64-bit integer, got '12 apples'");
  EXPECT_EQ(error_of_read("count:"), "a.yaml:1: count: expected a 64-bit integer, got nothing");
  EXPECT_EQ(error_of_read("count: [1]"), "a.yaml:1: count: expected a 64-bit integer, got a list");
  EXPECT_EQ(error_of_read("count: 9223372036854775808"), "a.yaml:1: count: expected a 64-bit integer, got '9223372036854775808'");
  EXPECT_EQ(error_of_read("count: 1e30"), "a.yaml:1: count: expected a 64-bit integer, got '1e30'");
  EXPECT_EQ(error_of_read("count: .inf"), "a.yaml:1: count: expected a 64-bit integer, got '.inf'");
  EXPECT_EQ(error_of_read("count: nan"), "a.yaml:1: count: expected a 64-bit integer, got 'nan'");
  EXPECT_EQ(error_of_read("small: 2147483648"), "a.yaml:1: small: expected a 32-bit integer, got '2147483648'");
  EXPECT_EQ(error_of_read("size: -1"), "a.yaml:1: size: expected a 64-bit integer of 0 or more, got '-1'");
  EXPECT_EQ(error_of_read("rate: nan"), "a.yaml:1: rate: expected a finite number, got 'nan'");
  EXPECT_EQ(error_of_read("rate: .inf"), "a.yaml:1: rate: expected a finite number, got '.inf'");
  EXPECT_EQ(error_of_read("rate: inf"), "a.yaml:1: rate: expected a finite number, got 'inf'");
  EXPECT_EQ(error_of_read("rate: 1e999"), "a.yaml:1: rate: expected a finite number, got '1e999'");
  EXPECT_EQ(error_of_read("text: {a: 1}"), "a.yaml:1: text: expected a text, got a section");
  EXPECT_EQ(error_of_read("list: 3"), "a.yaml:1: list: expected a list, got '3'");
  EXPECT_EQ(error_of_read("list:\n- 1\n- x"), "a.yaml:3: list[1]: expected a 64-bit integer, got 'x'");
  EXPECT_EQ(error_of_read("inner: 3"), "a.yaml:1: inner: expected a section, got '3'");
  EXPECT_EQ(error_of_read("colour: gren"), "a.yaml:1: colour: unknown value 'gren'; expected one of: red, green; did you mean 'green'?");
  EXPECT_EQ(error_of_read("colours: [red, 1]"), "a.yaml:1: colours[1]: unknown value '1'; expected one of: red, green");
}

TEST(Yaml, UnknownAndDuplicateKeys) {
  EXPECT_EQ(error_of_yaml("seed: 1\nsampling:\n  # comment\n  stepz: 3\n"),
            "a.yaml:4: sampling.stepz: unknown key; did you mean 'steps'? known keys: schedule, steps, slope, horizon, solver, eta, "
            "clip_x0, cpu_workers, "
            "precision, unchanged, finished, stabilization");
  EXPECT_EQ(error_of_yaml("colour: red"),
            "a.yaml:1: colour: unknown key; known keys: name, seed, data, model, diffusion, training, sampling, planning");
  EXPECT_EQ(error_of_yaml("seed: 1\nname: a\nseed: 2\n"), "a.yaml:3: seed: duplicate key, first at a.yaml:1");
  EXPECT_EQ(error_of_yaml("data:\n  type: maze_video\n  cells: 7\n  cells: 8\n"), "a.yaml:4: data.cells: duplicate key, first at a.yaml:3");
  EXPECT_EQ(error_of_yaml("a: &a {x: 1}\n<<: *a\n").substr(0, 23), "a.yaml:1: a: unknown ke");
}

TEST(Yaml, TypesOfVariants) {
  EXPECT_EQ(error_of_yaml("model:\n  type: unet\n"),
            "a.yaml:2: model.type: unknown type 'unet'; expected one of: unet_gru, mlp_gru, temporal_unet");
  EXPECT_EQ(error_of_yaml("model:\n  type: mlp_gur\n"),
            "a.yaml:2: model.type: unknown type 'mlp_gur'; expected one of: unet_gru, mlp_gru, temporal_unet; did you mean 'mlp_gru'?");
  EXPECT_EQ(error_of_yaml("seed: 1\nmodel:\n  width: 3\n"),
            "a.yaml:3: model.type: missing; expected one of: unet_gru, mlp_gru, temporal_unet");
  EXPECT_EQ(error_of_yaml("model:\n  type: mlp_gru\n  heads: 3\n"),
            "a.yaml:3: model.heads: unknown key; known keys: type, width, latent, mlp_layers, gru_layers, latent_init");
  const auto config = parse_experiment("model: {type: mlp_gru, latent: 12}", "a.yaml");
  ASSERT_TRUE(config.model.get_if<MlpGruConfig>());
  EXPECT_EQ(config.model.get<MlpGruConfig>().latent, 12);
}

TEST(Yaml, TextThatIsNotYaml) {
  EXPECT_EQ(error_of_yaml("seed: [1\nname: b\n").substr(0, 26), "a.yaml:2: not valid YAML: ");
  EXPECT_EQ(error_of_yaml(""), "a.yaml: expected sections of keys, got an empty file");
  EXPECT_EQ(error_of_yaml("hello"), "a.yaml:1: expected sections of keys, got 'hello'");
  EXPECT_EQ(error_of_yaml("- 1\n- 2"), "a.yaml:1: expected sections of keys, got a list");
  EXPECT_EQ(error_of_yaml("[1, 2]: 3"), "a.yaml:1: expected a key, got a list or section");
}

TEST(Yaml, OverridesEditTheTree) {
  const auto config =
      parse_experiment("seed: 1\nmodel: {type: unet_gru, width: 8}\n", "a.yaml",
                       {"seed=2", "model.width=16", "training.steps=1e2", "model.multipliers=[1, 2]", "sampling.schedule=a=b"});
  EXPECT_EQ(config.seed, 2u);
  EXPECT_EQ(config.model.get<UnetGruConfig>().width, 16);
  EXPECT_EQ(config.model.get<UnetGruConfig>().multipliers, (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(config.training.trainer.steps, 100);
  EXPECT_EQ(config.sampling.schedule, "a=b");
}

TEST(Yaml, AnotherTypeStartsItsSectionAnew) {
  const std::string yaml = "model: {type: unet_gru, heads: 8, width: 8}\n";
  const auto config = parse_experiment(yaml, "a.yaml", {"model.type=mlp_gru", "model.latent=6"});
  ASSERT_TRUE(config.model.get_if<MlpGruConfig>());
  EXPECT_EQ(config.model.get<MlpGruConfig>().latent, 6);
  EXPECT_EQ(config.model.get<MlpGruConfig>().width, MlpGruConfig{}.width);
  EXPECT_EQ(parse_experiment(yaml, "a.yaml", {"model.type=unet_gru"}).model.get<UnetGruConfig>().width, 8);
}

TEST(Yaml, WrongOverrides) {
  EXPECT_EQ(error_of_yaml("seed: 1", {"seed"}), "command line: expected key=value, got 'seed'");
  EXPECT_EQ(error_of_yaml("seed: 1", {"=3"}), "command line: expected key=value, got '=3'");
  EXPECT_EQ(error_of_yaml("seed: 1", {"training.=3"}), "command line: expected key=value, got 'training.=3'");
  EXPECT_EQ(error_of_yaml("seed: 1", {"seed.x=3"}), "command line: seed.x: seed is not a section");
  EXPECT_EQ(error_of_yaml("seed: 1", {"seed=-3"}), "command line: seed: expected a 64-bit integer of 0 or more, got '-3'");
  EXPECT_EQ(error_of_yaml("seed: 1", {"seed="}), "command line: seed: expected a 64-bit integer of 0 or more, got nothing");
  EXPECT_EQ(error_of_yaml("seed: 1", {"tarining.steps=3"}),
            "command line: tarining: unknown key; did you mean 'training'? known keys: name, seed, data, model, diffusion, training, "
            "sampling, planning");
  EXPECT_EQ(error_of_yaml("seed: 1", {"seed=[1"}).substr(0, 30), "command line: not valid YAML: ");
}

TEST(Yaml, DumpReadsBackAsTheSame) {
  Everything all;
  all.rate = 0.1 + 0.2;
  all.size = ~uint64_t{0};
  all.count = -5;
  all.list = {3, 1};
  all.colours = {Colour::green};
  for (const std::string text : {"", "plain/name.yaml", "two words", "12", "1e5", "true", "null", "~", "a: b", "# no", "\"quoted\" \\",
                                 "- x", "tab\tline\n", "\xc3\xa9", ".inf", "[1]"}) {
    all.text = text;
    const std::string dump = dump_config(all);
    const Everything back = read(dump);
    EXPECT_EQ(back.text, text) << dump;
    EXPECT_EQ(back.rate, all.rate);
    EXPECT_EQ(dump_config(back), dump);
  }
}

TEST(Yaml, DumpCarriesTheMeaningOfEachKey) {
  EXPECT_NE(dump_config(Everything{}).find("flag: false                       # a switch\n"), std::string::npos)
      << dump_config(Everything{});
}

TEST(Experiment, EveryConfigFileIsCompleteAndReadsBack) {
  int64_t files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(fs::path(DF_SOURCE_DIR) / "configs")) {
    if (entry.path().extension() != ".yaml") continue;
    SCOPED_TRACE(entry.path().string());
    ++files;
    const ExperimentConfig config = load_experiment(entry.path());
    const std::string dump = dump_experiment(config);
    EXPECT_EQ(dump_experiment(parse_experiment(dump, "dump")), dump);
    const auto keys = [](const YamlTree& tree) {
      std::vector<std::string> all;
      for (const auto& [key, value] : flatten(tree)) all.push_back(key);
      return all;
    };
    EXPECT_EQ(keys(parse_yaml(read_file(entry.path()), "file")), keys(parse_yaml(dump, "dump")));
  }
  EXPECT_GE(files, 3);
}

TEST(Experiment, BareNamesAreLookedForAmongTheInstalledConfigs) {
  // Beside the program, as in an installation; the test program is in <build>/bin.
  const fs::path installed = fs::path(DF_BINARY_DIR) / "share" / "diffusion_forcing" / "configs" / "find_config_test.yaml";
  write_atomically(installed, "seed: 5\n");
  EXPECT_EQ(load_experiment("find_config_test.yaml").seed, 5u);
  fs::remove(installed);
  const std::string error = test::error_of([] { find_config("no_such.yaml"); });
  EXPECT_EQ(error.rfind("no_such.yaml: not found; looked for no_such.yaml, ", 0), 0u) << error;
}

}  // namespace df
