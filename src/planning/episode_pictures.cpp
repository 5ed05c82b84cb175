// SPDX-License-Identifier: MIT
#include "diffusion_forcing/planning/episode_pictures.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <string>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/shape.hpp"
#include "diffusion_forcing/media/media.hpp"
#include "media/canvas.hpp"

namespace df {

namespace {

// The picture below a line of text, which is made smaller where it is too long.
Tensor captioned(const Tensor& picture, const std::string& text) {
  constexpr int64_t header = 18;
  const auto width = static_cast<double>(picture.size(2));
  Canvas canvas(picture.size(1) + header, picture.size(2));
  canvas.picture(picture, 0, header);
  const double size = std::min(12.0, 12.0 * (width - 4.0) / text_width(text, 12.0));
  canvas.text(text, {2.0, header - 5.0}, size);
  return canvas.image();
}

Tensor drawn(const Environment& environment, const WorldPicture& picture, int64_t width) {
  const Tensor image = environment.draw(picture, width);
  if (!image.defined()) throw Error(environment.spec().task + ": expected an environment that can be drawn, this one has no pictures");
  return image;
}

Tensor goal_of(const Episode& episode) { return episode.goal.empty() ? Tensor() : at::tensor(episode.goal, at::kDouble); }

// Episode `number` of a report up to step `t`, with the newest plan that was made at step `planned_by` or before.
WorldPicture picture_of(const EpisodeReport& report, int64_t number, int64_t t, int64_t planned_by) {
  const auto& episode = report.episodes[static_cast<size_t>(number)];
  WorldPicture picture;
  picture.record = episode.record.narrow(0, 0, t + 1);
  picture.goal = goal_of(episode);
  picture.steps = report.steps;
  picture.outcome = episode.outcome;
  const PlanRecord* newest = nullptr;
  for (const auto& record : report.plans)
    if (record.episode == number && record.step <= planned_by && (!newest || record.step >= newest->step)) newest = &record;
  if (newest) {
    picture.plan = newest->plan;
    picture.plan_step = newest->step;
  }
  return picture;
}

void write_video(const std::filesystem::path& path, double fps, int64_t frames, const std::function<Tensor(int64_t)>& frame) {
  const auto video = create_video(path, fps);
  for (int64_t i = 0; i < frames; ++i) video->write(frame(i));
  video->close();
}

}  // namespace

Tensor draw_episodes(const Environment& environment, const std::vector<EpisodeReport>& reports, int64_t episodes, int64_t width) {
  std::vector<Tensor> rows;
  for (const auto& report : reports) {
    const int64_t shown = std::min<int64_t>(episodes, static_cast<int64_t>(report.episodes.size()));
    std::vector<Tensor> row;
    for (int64_t i = 0; i < shown; ++i) {
      const auto& episode = report.episodes[static_cast<size_t>(i)];
      row.push_back(captioned(drawn(environment, picture_of(report, i, report.steps, 0), width),
                              fmt::format("{} {}: {}", report.policy, i, environment.caption(episode.outcome))));
    }
    if (!row.empty()) rows.push_back(sheet(at::stack(row), reports.size() == 1 ? 4 : shown, 6));
  }
  if (rows.empty()) throw Error("pictures of episodes: expected reports with at least one episode, got none");
  for (const auto& row : rows) check_shape(row, "pictures of episodes: rows", rows[0].sizes().vec());
  return sheet(at::stack(rows), 1, 6);
}

void write_closed_loop_video(const std::filesystem::path& path, const Environment& environment, const std::vector<EpisodeReport>& reports,
                             int64_t episode, int64_t every, const EpisodeVideoOptions& options) {
  if (every < 1) throw Error(fmt::format("closed loop: expected a frame every step or fewer, got every {}", every));
  int64_t steps = 0;
  for (const auto& report : reports) {
    if (episode < 0 || episode >= static_cast<int64_t>(report.episodes.size()))
      throw Error(fmt::format("closed loop: {}: expected an episode below {}, got {}", report.policy, report.episodes.size(), episode));
    steps = std::max(steps, report.steps);
  }
  if (reports.empty()) throw Error("closed loop: expected at least one report, got none");
  write_video(path, options.fps, 1 + (steps + every - 1) / every, [&](int64_t frame) {
    std::vector<Tensor> row;
    for (const auto& report : reports) {
      const int64_t t = std::min(frame * every, report.steps);
      WorldPicture picture = picture_of(report, episode, t, t);
      picture.moment = true;
      row.push_back(captioned(drawn(environment, picture, options.width), fmt::format("{}: step {}", report.policy, t)));
    }
    return sheet(at::stack(row), static_cast<int64_t>(row.size()), 6);
  });
}

void write_denoising_video(const std::filesystem::path& path, const Environment& environment, const Tensor& rows, const Episode& episode,
                           const EpisodeVideoOptions& options) {
  check_shape(rows, "denoising: rows", {-1, -1, static_cast<int64_t>(environment.spec().place.size())});
  const int64_t count = rows.size(0);
  WorldPicture picture;
  picture.record = episode.record.narrow(0, 0, 1);
  picture.goal = goal_of(episode);
  picture.steps = episode.record.size(0) - 1;
  write_video(path, options.fps, count, [&](int64_t m) {
    picture.points = rows[m];
    return captioned(drawn(environment, picture, options.width), fmt::format("row {} of {}", m + 1, count));
  });
}

}  // namespace df
