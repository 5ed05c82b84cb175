// SPDX-License-Identifier: MIT
#include "diffusion_forcing/data/loader.hpp"

#include <fmt/format.h>

#include <bit>
#include <condition_variable>
#include <exception>
#include <map>
#include <mutex>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/core/team.hpp"

namespace df {

// A Feistel network shuffles the smallest 4^b numbers that hold all indices; results outside are shuffled again until they are
// inside (on average less than four times), which leaves a permutation of the indices.
int64_t shuffled_index(int64_t size, uint64_t seed, int64_t n) {
  if (size < 1) throw Error(fmt::format("shuffled_index: expected a size of at least 1, got {}", size));
  if (n < 0) throw Error(fmt::format("shuffled_index: expected a position of at least 0, got {}", n));
  const uint64_t epoch = static_cast<uint64_t>(n / size);
  const int half_bits = (std::bit_width(static_cast<uint64_t>(size - 1)) + 1) / 2;
  const uint64_t mask = (uint64_t{1} << half_bits) - 1;
  uint64_t value = static_cast<uint64_t>(n % size);
  do {
    uint64_t left = value >> half_bits, right = value & mask;
    for (uint64_t round = 0; round < 6; ++round) {
      const uint64_t key = derive_seed(seed, {static_cast<uint64_t>(Stream::order), epoch, round, right});
      left = std::exchange(right, left ^ (key & mask));
    }
    value = left << half_bits | right;
  } while (value >= static_cast<uint64_t>(size));
  return static_cast<int64_t>(value);
}

namespace {

struct Prepared {
  Batch batch;
  std::exception_ptr error;
};

void check(const LoaderConfig& config, const Dataset* dataset, int64_t first_batch) {
  const auto at_least = [](const char* name, int64_t value, int64_t least) {
    if (value < least) throw Error(fmt::format("loader: expected {} of at least {}, got {}", name, least, value));
  };
  if (!dataset) throw Error("loader: expected a data set, got none");
  at_least("ranks", config.ranks, 1);
  if (config.rank < 0 || config.rank >= config.ranks)
    throw Error(fmt::format("loader: expected a rank in 0 .. {}, got {}", config.ranks - 1, config.rank));
  at_least("batch", config.batch, config.ranks);
  at_least("workers", config.workers, 0);
  at_least("prefetch", config.prefetch, 1);
  at_least("first batch", first_batch, 0);
  at_least("size of the data set", dataset->size(), 1);
}

}  // namespace

struct Loader::State {
  std::shared_ptr<const Dataset> dataset;
  LoaderConfig config;
  uint64_t seed;
  int64_t position;  // of the batch that next() returns; written under the mutex

  std::mutex mutex;
  std::condition_variable_any wanted;
  std::condition_variable made;
  std::map<int64_t, Prepared> prepared;
  int64_t claimed;                    // the next batch that nobody works on
  std::vector<std::jthread> workers;  // last: stopped and joined before anything they use goes away

  State(std::shared_ptr<const Dataset> data, const LoaderConfig& loader, uint64_t seed_, int64_t first_batch)
      : dataset(std::move(data)), config(loader), seed(seed_), position(first_batch), claimed(first_batch) {
    for (int64_t i = 0; i < config.workers; ++i) workers.emplace_back([this](const std::stop_token& stop) { work(stop); });
  }

  Batch make(int64_t number) const {
    std::vector<Batch> samples;
    const Share rows = share_of(config.batch, config.rank, config.ranks);
    samples.reserve(static_cast<size_t>(rows.size()));
    for (int64_t i = rows.begin; i < rows.end; ++i)
      samples.push_back(dataset->get(shuffled_index(dataset->size(), seed, number * config.batch + i)));
    return stack(samples, config.pin_memory);
  }

  void work(const std::stop_token& stop) {
    std::unique_lock lock(mutex);
    while (wanted.wait(lock, stop, [&] { return claimed < position + config.prefetch; }) && !stop.stop_requested()) {
      const int64_t number = claimed++;
      lock.unlock();
      Prepared result;
      try {
        result.batch = make(number);
      } catch (...) {
        result.error = std::current_exception();
      }
      lock.lock();
      prepared.emplace(number, std::move(result));
      made.notify_all();
    }
  }

  // A batch that failed stays: asking again fails again.
  Batch next() {
    if (config.workers == 0) {
      Batch batch = make(position);
      ++position;
      return batch;
    }
    std::unique_lock lock(mutex);
    made.wait(lock, [&] { return prepared.contains(position); });
    Prepared& ready = prepared.at(position);
    if (ready.error) std::rethrow_exception(ready.error);
    Batch batch = std::move(ready.batch);
    prepared.erase(position++);
    lock.unlock();
    wanted.notify_one();
    return batch;
  }
};

Loader::Loader(std::shared_ptr<const Dataset> dataset, const LoaderConfig& config, uint64_t seed, int64_t first_batch) {
  check(config, dataset.get(), first_batch);
  state_ = std::make_unique<State>(std::move(dataset), config, seed, first_batch);
}
Loader::~Loader() = default;

Batch Loader::next() { return state_->next(); }
int64_t Loader::position() const { return state_->position; }
const LoaderConfig& Loader::config() const { return state_->config; }

}  // namespace df
