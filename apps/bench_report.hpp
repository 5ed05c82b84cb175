// SPDX-License-Identifier: MIT
// Rows of df-bench: a table as they come, JSON at the end.
#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "bench_measure.hpp"
#include "diffusion_forcing/core/file.hpp"
#include "diffusion_forcing/core/version.hpp"

namespace df::bench {

struct Row {
  std::string network, work;
  Timing time;
  double flop = 0.0;   // of one run; 0: not arithmetic
  double items = 0.0;  // cells or frames of one run
  std::string unit = "cells";
  std::string note = "";
};

class Report {
 public:
  Report(std::string device, std::string precision, int threads, MatmulRate ceiling)
      : device_(std::move(device)), precision_(std::move(precision)), threads_(threads), ceiling_(ceiling) {
    fmt::print("{}, {}; matmul {:.0f} GFLOP/s ({})", device_, precision_, ceiling_.flops * 1e-9, ceiling_.how);
    if (ceiling_.one_thread > 0) fmt::print(", {:.0f} GFLOP a CPU second of one thread", ceiling_.one_thread * 1e-9);
    fmt::print(
        "\nfloor: the same arithmetic at the matmul rate; ratio: median time over it; share: floor over best time; cpu: CPU time of all "
        "threads\n\n");
    fmt::print("{:<8} {:<49} {:>11} {:>11} {:>11} {:>10} {:>7} {:>6} {:>9} {:>16}\n", "network", "work", "median ms", "best ms", "cpu ms",
               "floor ms", "ratio", "share", "GFLOP/s", "rate");
    std::fflush(stdout);
  }

  double floor_seconds(double flop) const { return flop / ceiling_.flops; }

  void add(Row row) {
    const double floor = floor_seconds(row.flop);
    const std::string rate = fmt::format("{:.4g} {}/s", row.items / row.time.best, row.unit);
    std::string arithmetic(35, ' ');
    if (row.flop > 0)
      arithmetic = fmt::format("{:>10.3f} {:>7.2f} {:>6.2f} {:>9.1f}", floor * 1e3, row.time.median / floor, floor / row.time.best,
                               row.flop / row.time.best * 1e-9);
    fmt::print("{:<8} {:<49} {:>11.3f} {:>11.3f} {:>11.3f} {} {:>16}{}\n", row.network, row.work, row.time.median * 1e3,
               row.time.best * 1e3, row.time.cpu * 1e3, arithmetic, rate, row.note.empty() ? "" : "  " + row.note);
    std::fflush(stdout);
    rows_.push_back(std::move(row));
  }

  void skip(const std::string& network, const std::string& work, const std::string& why) {
    fmt::print("{:<8} {:<49} skipped: {}\n", network, work, why);
    std::fflush(stdout);
  }

  void write_json(const std::filesystem::path& path) const {
    std::string rows;
    for (const Row& row : rows_)
      rows += fmt::format(
          "{}\n    {{\"network\": \"{}\", \"work\": \"{}\", \"median_s\": {:.6g}, \"best_s\": {:.6g}, \"cpu_s\": {:.6g}, \"runs\": {}, "
          "\"flop\": {:.6g}, \"floor_s\": {:.6g}, "
          "\"{}\": {:.6g}, \"note\": \"{}\"}}",
          rows.empty() ? "" : ",", row.network, row.work, row.time.median, row.time.best, row.time.cpu, row.time.runs, row.flop,
          floor_seconds(row.flop), row.unit, row.items, row.note);
    write_atomically(
        path, fmt::format("{{\n  \"version\": \"{}\", \"commit\": \"{}\", \"device\": \"{}\", \"threads\": {}, \"precision\": \"{}\",\n  "
                          "\"matmul_flops\": {:.6g}, \"matmul\": \"{}\", \"matmul_flops_one_thread\": {:.6g},\n  \"rows\": [{}\n  ]\n}}\n",
                          version(), commit(), device_, threads_, precision_, ceiling_.flops, ceiling_.how, ceiling_.one_thread, rows));
  }

 private:
  std::string device_, precision_;
  int threads_;
  MatmulRate ceiling_;
  std::vector<Row> rows_;
};

}  // namespace df::bench
