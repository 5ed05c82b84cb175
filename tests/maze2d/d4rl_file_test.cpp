// SPDX-License-Identifier: MIT
// Files of D4RL's form: what is written is read back, what others write is read, what is wrong is named.
#include "diffusion_forcing/maze2d/d4rl_file.hpp"

#include <ATen/ATen.h>

#include <cmath>
#include <fstream>
#include <thread>

#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/data/hdf5_file.hpp"
#include "support/support.hpp"

namespace df {
namespace {

using test::error_of;
using test::identical;

OfflineData sample(int64_t rows = 20) {
  OfflineData data;
  data.observations = seeded_normal({rows, 4}, 1);
  data.actions = seeded_normal({rows, 2}, 2);
  data.rewards = seeded_normal({rows}, 3);
  data.terminals = at::zeros({rows}, at::kBool);
  data.timeouts = at::arange(rows).remainder(5).eq(4);
  data.goals = seeded_normal({rows, 2}, 4);
  data.qpos = seeded_normal({rows, 2}, 5);
  data.qvel = seeded_normal({rows, 2}, 6);
  return data;
}

class D4rlFile : public ::testing::Test {
 protected:
  // The error of reading a file where `name` holds `array` instead; undefined: where it is absent.
  std::string error_with(const std::string& name, const Tensor& array) {
    std::map<std::string, Tensor> arrays = {{"observations", at::zeros({5, 4})},
                                            {"actions", at::zeros({5, 2})},
                                            {"rewards", at::zeros({5})},
                                            {"terminals", at::zeros({5}, at::kBool)}};
    arrays[name] = array;
    auto file = Hdf5File::create(path_);
    for (const auto& [key, value] : arrays)
      if (value.defined()) file.write(key, value);
    file.close();
    return error_of([&] { read_d4rl(path_, {.observation = 4, .action = 2}); }).substr(path_.string().size());
  }
  test::TemporaryFolder folder_;
  const std::filesystem::path path_ = folder_.path() / "a.hdf5";
};

}  // namespace

TEST_F(D4rlFile, ReadsBackWhatWasWritten) {
  const OfflineData data = sample(40000);  // more than a chunk
  write_d4rl(path_, data);
  const OfflineData back = read_d4rl(path_);
  for (const auto tensor : {&OfflineData::observations, &OfflineData::actions, &OfflineData::rewards, &OfflineData::terminals,
                            &OfflineData::timeouts, &OfflineData::goals, &OfflineData::qpos, &OfflineData::qvel})
    EXPECT_TRUE(identical(back.*tensor, data.*tensor));
  const OfflineData lean = read_d4rl(path_, {.observation = 4, .action = 2, .infos = false});
  EXPECT_EQ(lean.rows(), 40000);
  EXPECT_FALSE(lean.qpos.defined());
}

TEST_F(D4rlFile, ThreadsMayReadAndWriteAtOnce) {
  const OfflineData data = sample(2000);
  std::vector<int> good(4, 0);  // written by one thread each
  {
    std::vector<std::jthread> threads;
    for (size_t i = 0; i < good.size(); ++i)
      threads.emplace_back([&, i] {
        const auto path = folder_.path() / (std::to_string(i) + ".hdf5");
        for (int repeat = 0; repeat < 10; ++repeat) {
          write_d4rl(path, data);
          good[i] += identical(read_d4rl(path).observations, data.observations);
        }
      });
  }
  EXPECT_EQ(good, (std::vector<int>{10, 10, 10, 10}));
}

TEST_F(D4rlFile, ReadsFilesOfOthers) {
  auto file = Hdf5File::create(path_);
  const OfflineData data = sample();
  file.write("observations", data.observations);
  file.write("actions", data.actions);
  file.write("rewards", data.rewards);
  file.write("terminals", data.terminals);
  file.write("metadata/anything", at::zeros({3}));
  file.close();
  EXPECT_FALSE(read_d4rl(path_).timeouts.defined());
  // Written by h5py 3: float64 and float16 numbers, int64 terminals, float32 timeouts, contiguous and not compressed.
  const OfflineData other = read_d4rl(test::golden_dir() / "maze2d" / "foreign.hdf5");
  EXPECT_EQ(other.rows(), 3);
  EXPECT_EQ(other.observations.scalar_type(), at::kFloat);
  EXPECT_EQ(other.observations[2][3].item<double>(), 11);
  EXPECT_TRUE(identical(other.terminals, at::tensor({0, 0, 1}, at::kLong).to(at::kBool)));
  EXPECT_TRUE(identical(other.timeouts, at::tensor({0, 1, 0}, at::kLong).to(at::kBool)));
  EXPECT_FALSE(other.goals.defined());
}

TEST_F(D4rlFile, WritesTheReleasedTypes) {
  write_d4rl(path_, sample());
  const auto text = [&] {
    std::ifstream file(path_, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  }();
  EXPECT_EQ(text.substr(1, 3), "HDF");
  for (const char* word : {"observations", "infos", "qvel", "timeouts", "FALSE", "TRUE", "deflate"})
    EXPECT_NE(text.find(word), std::string::npos) << word;
}

TEST_F(D4rlFile, ErrorsNameWhatWasExpected) {
  EXPECT_EQ(error_of([] { read_d4rl("/nowhere/a.hdf5"); }), "/nowhere/a.hdf5: no such file; expected an HDF5 file");
  std::ofstream(path_) << "text";
  EXPECT_EQ(error_of([&] { read_d4rl(path_); }), path_.string() + ": expected an HDF5 file, got other or incomplete content");
  EXPECT_EQ(error_with("observations", {}), ": observations: expected real numbers of shape [*, 4], got no such data set");
  EXPECT_EQ(error_with("actions", {}), ": actions: expected real numbers of shape [5, 2], got no such data set");
  EXPECT_EQ(error_with("terminals", {}), ": terminals: expected booleans, or numbers 0 and 1 of shape [5], got no such data set");
  EXPECT_EQ(error_with("observations", at::zeros({5, 3})),
            ": observations: expected real numbers of shape [*, 4], got float32 of shape [5, 3]");
  EXPECT_EQ(error_with("actions", at::zeros({4, 2})), ": actions: expected real numbers of shape [5, 2], got float32 of shape [4, 2]");
  EXPECT_EQ(error_with("rewards", at::zeros({5, 1})), ": rewards: expected real numbers of shape [5], got float32 of shape [5, 1]");
  EXPECT_EQ(error_with("rewards", at::zeros({5}, at::kBool)), ": rewards: expected real numbers of shape [5], got enum8 of shape [5]");
  EXPECT_EQ(error_with("timeouts", at::full({5}, 0.5)), ": timeouts: row 0: expected 0 or 1, got 0.5");
  EXPECT_EQ(error_with("timeouts", at::zeros({6})),
            ": timeouts: expected booleans, or numbers 0 and 1 of shape [5], got float32 of shape [6]");
  EXPECT_EQ(error_with("infos/goal", at::zeros({5})), ": infos/goal: expected real numbers of shape [5, *], got float32 of shape [5]");
  {
    auto file = Hdf5File::create(path_);
    file.write("observations/inner", at::zeros({5, 4}));
    file.close();
    EXPECT_EQ(error_of([&] { read_d4rl(path_); }),
              path_.string() + ": observations: expected real numbers of shape [*, *], got something that is not a data set");
  }
  Tensor actions = at::zeros({5, 2});
  actions[3][1] = NAN;
  EXPECT_EQ(error_with("actions", actions), ": actions: row 3: expected finite numbers, got nan");
  Tensor observations = at::zeros({5, 4});
  observations[4][0] = INFINITY;
  EXPECT_EQ(error_with("observations", observations), ": observations: row 4: expected finite numbers, got inf");
}

TEST_F(D4rlFile, CutOffFilesAreErrors) {
  write_d4rl(path_, sample(40000));
  std::filesystem::resize_file(path_, std::filesystem::file_size(path_) / 2);
  EXPECT_NE(error_of([&] { read_d4rl(path_); }).find(path_.string()), std::string::npos);
}

TEST_F(D4rlFile, NothingIsWrittenOfWrongData) {
  const auto error = [&](auto change) {
    OfflineData data = sample();
    change(data);
    return error_of([&] { write_d4rl(path_, data); });
  };
  EXPECT_EQ(error([](auto& d) { d.rewards = at::zeros({19}); }), "rewards: expected shape [20], got [19]");
  EXPECT_EQ(error([](auto& d) { d.terminals = at::zeros({20}); }), "terminals: expected Bool, got Float");
  EXPECT_EQ(error([](auto& d) { d.actions = d.actions.to(at::kDouble); }), "actions: expected Float, got Double");
  EXPECT_NE(error([](auto& d) { d.actions = Tensor(); }).find("actions: expected shape [20, *]"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(path_));
}

}  // namespace df
