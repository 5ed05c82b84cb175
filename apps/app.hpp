// SPDX-License-Identifier: MIT
// What every program shares: exit codes, one-line errors, signals, --version. Header only, so that a program is one file and this.
#pragma once

#include <malloc.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <exception>
#include <functional>
#include <string>

#include "diffusion_forcing/config/experiment.hpp"
#include "diffusion_forcing/core/fast_math.hpp"
#include "diffusion_forcing/core/version.hpp"

namespace df::app {

enum ExitCode { success = 0, failed = 1, bad_usage = 2, interrupted = 130 };

inline std::atomic<bool>& stop_flag() {
  static std::atomic<bool> flag{false};
  return flag;
}

// The first Ctrl-C (or SIGTERM) asks for an orderly end, another one kills. Not in the first second: timeout(1), make and schedulers signal
// the program and its process group, so it hears the same wish twice.
inline void catch_signals() {
  const auto handler = [](int signal) {
    static std::atomic<std::time_t> asked{0};
    std::timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (!stop_flag().exchange(true)) {
      asked = now.tv_sec;
    } else if (now.tv_sec > asked + 1) {
      std::signal(signal, SIG_DFL);
      std::raise(signal);
    }
  };
  std::signal(SIGINT, handler);
  std::signal(SIGTERM, handler);
}

// A training step frees what the next one allocates again. By default the C library gives much of it back to the system in between, which
// then clears it anew, page by page: 1,900 page faults a step of configs/video_quick.yaml.
inline void keep_freed_memory() {
  mallopt(M_MMAP_THRESHOLD, 32 << 20);  // the most it takes
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
}

// Parses, runs `body` with the fast choices of float32 arithmetic on GPUs and turns whatever happens into an exit code. Log lines and
// errors go to stderr, results to stdout.
inline int run(CLI::App& app, int argc, char** argv, const std::function<int()>& body) {
  app.set_version_flag("--version", app.get_name() + " " + version() + " (" + commit() + ")");
  app.get_formatter()->column_width(36);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    std::fprintf(stderr, "%s: %s; see %s --help\n", app.get_name().c_str(), error.what(), app.get_name().c_str());
    return bad_usage;
  }
  keep_freed_memory();
  spdlog::set_default_logger(spdlog::stderr_color_mt("df"));
  spdlog::set_pattern("%H:%M:%S %^%v%$");
  const FastMath fast;
  try {
    return body();
  } catch (const ConfigError& error) {
    std::fprintf(stderr, "%s: %s\n", app.get_name().c_str(), error.what());
    return bad_usage;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", app.get_name().c_str(), error.what());
    return failed;
  }
}

}  // namespace df::app
