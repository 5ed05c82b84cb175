// SPDX-License-Identifier: MIT
// Results of several runs side by side: a table for people, JSON and CSV for programs, one picture.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "diffusion_forcing/core/tensor.hpp"
#include "diffusion_forcing/drawing/scene.hpp"
#include "diffusion_forcing/evaluation/curves.hpp"

namespace df {

// Everything that was measured of one model.
struct RunReport {
  std::string name;
  int64_t sequences = 0, frames = 0;                      // measured
  std::map<std::string, std::string> facts;               // checkpoint, schedule, ...
  std::vector<std::pair<std::string, Interval>> numbers;  // for the table
  std::vector<Curve> curves;
};

// One column a run, one row a number: "0.412 [0.39, 0.44]"; "-" where a run has no such number.
std::string report_table(const std::vector<RunReport>& runs);
// run,curve,first,last,value,low,high,sequences; intervals that are not known are empty.
std::string report_csv(const std::vector<RunReport>& runs);
// The same and all else; unknown values are null.
std::string report_json(const std::vector<RunReport>& runs);
// A plot for each curve name, a line for each run, a band for its interval. uint8 [3, H, W]. Needs libdiffusion_forcing_media.
Tensor report_plot(const std::vector<RunReport>& runs);
// Rows of frames with their names on the left and frame numbers above, enlarged `scale` times. uint8 [3, H, W]. Throws df::Error where the
// rows differ in size. Needs libdiffusion_forcing_media.
struct FrameRow {
  std::string name;
  Tensor frames;  // uint8 [N, 3, h, w]
};
// A picture of rows of frames with their numbers -> uint8 [3, height, width].
Tensor contact_sheet(const std::vector<FrameRow>& rows, const std::vector<int64_t>& numbers, int64_t scale);
// What a page shows beside the runs. Files stand in its folder, next to those of write_report() without pictures.
struct PageParts {
  bool frames = true;                                         // sheet.png and side_by_side.mp4 are there
  bool curves = true;                                         // curves.png is there
  std::vector<std::pair<std::string, drawing::Scene>> plans;  // {run, how its frames were sampled}
};
// One HTML page: the video and frames, a plot for each curve, the table with the best model of each row marked, what each number means, and
// what was run. Plots are part of the page. Needs no media library.
std::string report_page(const std::vector<RunReport>& runs, const std::string& title, const std::string& command,
                        const PageParts& parts = {});
// report.json, curves.csv, table.txt and, with `pictures`, curves.png in `folder`, each whole or as it was.
void write_report(const std::filesystem::path& folder, const std::vector<RunReport>& runs, bool pictures = true);
// The runs of a report.json. Throws df::Error with the file and what is wrong with it.
std::vector<RunReport> read_report(const std::filesystem::path& file);

}  // namespace df
