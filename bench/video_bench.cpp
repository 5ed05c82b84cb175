// SPDX-License-Identifier: MIT
// Frames a second of shuffled clips from a folder of H.264 files, on one thread and through the loader; files a second of a data set that
// is opened for the first and for the second time.
#include <ATen/ATen.h>
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "diffusion_forcing/core/seed.hpp"
#include "diffusion_forcing/data/loader.hpp"
#include "diffusion_forcing/data/video_folder.hpp"
#include "diffusion_forcing/media/media.hpp"

namespace {

namespace fs = std::filesystem;

// Twelve seconds a file: a picture that moves over noise, 320 x 240. Removed at the end.
class Clips {
 public:
  Clips() : folder_(fs::temp_directory_path() / ("video_bench_" + std::to_string(::getpid()))) {
    ::setenv("XDG_CACHE_HOME", (folder_ / "caches").c_str(), 1);
    if (const char* given = std::getenv("DF_BENCH_VIDEOS")) {
      videos_ = given;
      return;
    }
    const auto generator = df::make_generator(1);
    const at::Tensor picture = at::upsample_bilinear2d(at::rand({1, 3, 30, 100}, generator), {240, 800}, true)[0].mul(200);
    for (int file = 0; file < files; ++file) {
      const auto video = df::create_video(videos_ / (std::to_string(file) + ".mp4"), 25);
      for (int64_t t = 0; t < 300; ++t) {
        const at::Tensor noise = at::rand({3, 240, 320}, generator).mul(30);
        video->write(picture.narrow(2, (t + 40 * file) % 480, 320).add(noise).to(at::kByte));
      }
      video->close();
    }
  }
  ~Clips() { fs::remove_all(folder_); }
  df::VideoFolderConfig config() const {
    df::VideoFolderConfig config;
    config.path = videos_;
    config.held_out = 0;
    config.frames = 16;
    config.clip_stride = 4;
    return config;
  }
  void forget() const { fs::remove_all(folder_ / "caches"); }
  static constexpr int files = 8;

 private:
  fs::path folder_, videos_ = folder_ / "clips";
};

const Clips& clips() {
  static const Clips made;
  return made;
}

void clip(benchmark::State& state) {
  const auto data = df::make(clips().config(), df::Split::train);
  int64_t n = 0;
  for (auto _ : state) benchmark::DoNotOptimize(data->get(df::shuffled_index(data->size(), 1, n++)));
  state.counters["frames/s"] = benchmark::Counter(static_cast<double>(state.iterations() * 16), benchmark::Counter::kIsRate);
}

void loader(benchmark::State& state) {
  const df::LoaderConfig loading{.batch = 8, .workers = state.range(0), .prefetch = 4};
  df::Loader batches(df::make(clips().config(), df::Split::train), loading, 1);
  for (auto _ : state) benchmark::DoNotOptimize(batches.next());
  state.counters["frames/s"] = benchmark::Counter(static_cast<double>(state.iterations() * 8 * 16), benchmark::Counter::kIsRate);
}

void open(benchmark::State& state) {
  for (auto _ : state) {
    if (state.range(0) != 0) clips().forget();
    benchmark::DoNotOptimize(df::make(clips().config(), df::Split::train));
  }
  state.counters["files/s"] = benchmark::Counter(static_cast<double>(state.iterations() * Clips::files), benchmark::Counter::kIsRate);
}

}  // namespace

BENCHMARK(clip)->MeasureProcessCPUTime()->UseRealTime()->MinTime(3);
BENCHMARK(loader)->ArgName("workers")->Arg(1)->Arg(2)->MeasureProcessCPUTime()->UseRealTime()->MinTime(3);
BENCHMARK(open)->ArgName("first")->Arg(1)->Arg(0)->UseRealTime();
