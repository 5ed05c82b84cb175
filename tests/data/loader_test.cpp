// SPDX-License-Identifier: MIT
#include "diffusion_forcing/data/loader.hpp"

#include <ATen/ATen.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <set>
#include <thread>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/maze_world/maze_video.hpp"
#include "support/support.hpp"

namespace df {
namespace {

// Sequences that hold their index; one of them cannot be read, and some take longer than others.
class Numbers final : public Dataset {
 public:
  explicit Numbers(int64_t size, int64_t broken = -1) : size_(size), broken_(broken) {}
  DataSpec spec() const override { return {}; }
  int64_t size() const override { return size_; }
  Batch get(int64_t index, int64_t) const override {
    ++reads;
    if (index == broken_) throw Error("numbers: sequence " + std::to_string(index) + " cannot be read");
    if (index % 3 == 0) std::this_thread::sleep_for(std::chrono::microseconds(200));
    Batch sample;
    sample.x = at::full({2, 1}, static_cast<double>(index), at::kFloat);
    return sample;
  }
  std::string describe() const override { return "numbers"; }
  mutable std::atomic<int64_t> reads = 0;

 private:
  int64_t size_, broken_;
};

TEST(ShuffledIndex, IsAPermutationOfEveryEpoch) {
  for (const int64_t size : {1, 2, 3, 7, 16, 17, 100, 1000, 4097})
    for (int64_t epoch = 0; epoch < 3; ++epoch) {
      std::set<int64_t> seen;
      for (int64_t i = 0; i < size; ++i) seen.insert(shuffled_index(size, 5, epoch * size + i));
      ASSERT_EQ(static_cast<int64_t>(seen.size()), size);
      ASSERT_EQ(*seen.begin(), 0);
      ASSERT_EQ(*seen.rbegin(), size - 1);
    }
}

TEST(ShuffledIndex, DiffersBetweenEpochsAndSeedsAndFromTheNaturalOrder) {
  constexpr int64_t size = 1000;
  int64_t as_before = 0, as_other_seed = 0, in_place = 0, successors = 0;
  for (int64_t i = 0; i < size; ++i) {
    const int64_t index = shuffled_index(size, 1, i);
    as_before += index == shuffled_index(size, 1, size + i);
    as_other_seed += index == shuffled_index(size, 2, i);
    in_place += index == i;
    successors += shuffled_index(size, 1, i + 1) == index + 1;
  }
  for (const int64_t coincidences : {as_before, as_other_seed, in_place, successors}) EXPECT_LT(coincidences, 12);  // 1 expected
}

// Each index stands equally often in the first quarter of an epoch.
TEST(ShuffledIndex, HasNoFavourites) {
  constexpr int64_t size = 20, epochs = 2000;
  std::vector<int64_t> early(size, 0);
  for (int64_t epoch = 0; epoch < epochs; ++epoch)
    for (int64_t i = 0; i < size / 4; ++i) ++early[static_cast<size_t>(shuffled_index(size, 9, epoch * size + i))];
  for (const int64_t count : early) EXPECT_NEAR(static_cast<double>(count), epochs / 4.0, 100);  // 5 standard deviations
}

TEST(ShuffledIndex, RefusesAnEmptySet) {
  EXPECT_NE(test::error_of([] { shuffled_index(0, 1, 0); }), "");
  EXPECT_NE(test::error_of([] { shuffled_index(3, 1, -1); }), "");
}

TEST(Loader, BatchesAreTheSameWhateverTheNumberOfWorkers) {
  const auto data = std::make_shared<Numbers>(50);
  Loader alone(data, {.batch = 4, .workers = 0, .prefetch = 3}, 7), one(data, {.batch = 4, .workers = 1, .prefetch = 3}, 7),
      four(data, {.batch = 4, .workers = 4, .prefetch = 3}, 7), other(data, {.batch = 4, .workers = 0, .prefetch = 3}, 8);
  bool differs = false;
  for (int64_t n = 0; n < 40; ++n) {
    EXPECT_EQ(one.position(), n);
    const Tensor expected = alone.next().x;
    for (int64_t i = 0; i < 4; ++i) EXPECT_EQ(expected[i][0][0].item<float>(), static_cast<float>(shuffled_index(50, 7, 4 * n + i)));
    EXPECT_TRUE(test::identical(one.next().x, expected));
    EXPECT_TRUE(test::identical(four.next().x, expected));
    differs = differs || !at::equal(other.next().x, expected);
  }
  EXPECT_TRUE(differs);
}

TEST(Loader, ResumesAtAnyBatch) {
  const auto data = std::make_shared<Numbers>(50);
  Loader whole(data, {.batch = 3, .workers = 2}, 7);
  for (int64_t n = 0; n < 23; ++n) whole.next();
  const Tensor expected = whole.next().x;
  for (const int64_t workers : {0, 1, 4}) {
    Loader resumed(data, {.batch = 3, .workers = workers}, 7, 23);
    EXPECT_EQ(resumed.position(), 23);
    EXPECT_TRUE(test::identical(resumed.next().x, expected));
  }
}

TEST(Loader, PreparesNoMoreThanAskedFor) {
  const auto data = std::make_shared<Numbers>(50);
  Loader loader(data, {.batch = 2, .workers = 3, .prefetch = 2}, 7);
  const auto settles_at = [&](int64_t reads) {  // enough time for surplus reads to show
    for (int64_t i = 0; i < 1000 && data->reads < reads; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    return data->reads == reads;
  };
  EXPECT_TRUE(settles_at(4)) << data->reads;
  loader.next();
  EXPECT_TRUE(settles_at(6)) << data->reads;
}

TEST(Loader, WhatAWorkerMetIsThrownAtItsBatch) {
  constexpr int64_t broken = 13;
  int64_t fatal = 0;
  while (shuffled_index(50, 7, fatal) != broken) ++fatal;
  fatal /= 2;
  for (const int64_t workers : {0, 1, 4}) {
    Loader loader(std::make_shared<Numbers>(50, broken), {.batch = 2, .workers = workers}, 7);
    for (int64_t n = 0; n < fatal; ++n) EXPECT_TRUE(loader.next().x.defined());
    for (int64_t again = 0; again < 2; ++again) EXPECT_EQ(test::error_of([&] { loader.next(); }), "numbers: sequence 13 cannot be read");
    EXPECT_EQ(loader.position(), fatal);
  }
}

TEST(Loader, StopsWhileWorkersAreBusyOrWaiting) {
  const auto data = std::make_shared<Numbers>(50);
  for (int64_t i = 0; i < 50; ++i) {
    Loader loader(data, {.batch = 3, .workers = 4, .prefetch = 1 + i % 5}, 1);
    if (i % 2) loader.next();
  }
  const int64_t reads = data->reads;
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_EQ(data->reads, reads);
  EXPECT_EQ(data.use_count(), 1);
}

TEST(Loader, GivesEachRankItsRowsAndReadsNoOthers) {
  const LoaderConfig all{.batch = 7, .workers = 2};
  Loader whole(std::make_shared<Numbers>(100), all, 4);
  const Batch expected[] = {whole.next(), whole.next()};
  for (int64_t rank = 0; rank < 3; ++rank) {
    const auto data = std::make_shared<Numbers>(100);
    LoaderConfig config = all;
    config.workers = 0;
    config.rank = rank;
    config.ranks = 3;
    Loader loader(data, config, 4);
    const int64_t begin = 7 * rank / 3, end = 7 * (rank + 1) / 3;
    for (const Batch& batch : expected) EXPECT_TRUE(test::identical(loader.next().x, batch.x.slice(0, begin, end))) << rank;
    EXPECT_EQ(data->reads, 2 * (end - begin));
  }
}

TEST(Loader, ServesClipsOfTheMaze) {
  MazeVideoConfig config;
  config.height = config.width = 8;
  config.frames = 4;
  config.clips = 10;
  config.actions = true;
  const auto data = make(config, Split::train);
  Loader loader(data, {.batch = 3, .workers = 2}, 1);
  const Batch batch = loader.next();
  EXPECT_EQ(batch.x.sizes().vec(), (Shape{3, 1, 12, 8, 8}));
  EXPECT_EQ(batch.c.sizes().vec(), (Shape{3, 1, 12}));
  EXPECT_EQ(batch.facts.sizes().vec(), (Shape{3, 4, 3}));
  EXPECT_TRUE(test::identical(batch.x[1], data->get(shuffled_index(10, 1, 1)).x));
}

TEST(Loader, RefusesBadSettings) {
  const auto data = std::make_shared<Numbers>(5);
  EXPECT_NE(test::error_of([&] { Loader(data, {.batch = 0}, 1); }).find("batch of at least 1, got 0"), std::string::npos);
  EXPECT_NE(test::error_of([&] { Loader(data, {.batch = 2, .ranks = 3}, 1); }).find("batch of at least 3, got 2"), std::string::npos);
  EXPECT_NE(test::error_of([&] { Loader(data, {.rank = 2, .ranks = 2}, 1); }).find("a rank in 0 .. 1, got 2"), std::string::npos);
  EXPECT_NE(test::error_of([&] { Loader(data, {.workers = -1}, 1); }).find("workers"), std::string::npos);
  EXPECT_NE(test::error_of([&] { Loader(data, {.prefetch = 0}, 1); }).find("prefetch"), std::string::npos);
  EXPECT_NE(test::error_of([&] { Loader(data, {}, 1, -1); }).find("first batch"), std::string::npos);
  EXPECT_NE(test::error_of([&] { Loader(std::make_shared<Numbers>(0), {}, 1); }).find("data set"), std::string::npos);
  EXPECT_NE(test::error_of([&] { Loader(nullptr, {}, 1); }).find("data set"), std::string::npos);
}

TEST(Batch, StacksAndSlices) {
  Batch a, b;
  a.x = at::ones({2, 3}), b.x = at::zeros({2, 3});
  a.mask = at::ones({2}), b.mask = at::zeros({2});
  const Batch both = stack({a, b});
  EXPECT_EQ(both.x.sizes().vec(), (Shape{2, 2, 3}));
  EXPECT_FALSE(both.c.defined());
  const Batch second = both.slice(1, 2);
  EXPECT_TRUE(test::identical(second.x[0], b.x));
  EXPECT_TRUE(test::identical(second.mask[0], b.mask));
  EXPECT_FALSE(second.c.defined());
  EXPECT_TRUE(test::identical(both.to(at::kCPU).x, both.x));
}

TEST(Batch, UnequalSequencesCannotBeStacked) {
  Batch a, longer, conditioned;
  a.x = at::ones({2, 3}), longer.x = at::ones({4, 3});
  conditioned.x = at::ones({2, 3}), conditioned.c = at::ones({2, 1});
  EXPECT_EQ(test::error_of([&] {
              stack({a, longer});
            }),
            "x of sequence 1 of the batch: expected shape [2, 3] as in sequence 0, got [4, 3]");
  EXPECT_EQ(test::error_of([&] {
              stack({a, conditioned});
            }),
            "c of sequence 1 of the batch: expected shape none as in sequence 0, got [2, 1]");
  EXPECT_NE(test::error_of([&] { stack({}); }), "");
  EXPECT_EQ(test::error_of([&] { a.slice(1, 3); }), "slice of x: expected 0 <= begin <= end <= 2, got 1 and 3");
}

}  // namespace
}  // namespace df
