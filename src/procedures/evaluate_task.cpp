// SPDX-License-Identifier: MIT
#include "diffusion_forcing/procedures/evaluate_task.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "config/config_errors.hpp"
#include "diffusion_forcing/config/types.hpp"
#include "diffusion_forcing/core/file.hpp"
#include "diffusion_forcing/media/media.hpp"
#include "diffusion_forcing/planning/episode_page.hpp"
#include "diffusion_forcing/planning/episode_pictures.hpp"
#include "diffusion_forcing/planning/random_policy.hpp"
#include "diffusion_forcing/training/progress.hpp"

namespace df {

namespace {

using std::filesystem::path;

const TaskFamily& family_of(const std::string& task) {
  for (const auto& family : builtin_types().tasks) {
    const auto ids = family->ids();
    if (std::find(ids.begin(), ids.end(), task) != ids.end()) return *family;
  }
  throw ConfigError(fmt::format("unknown task '{}'; expected one of: {}", task, fmt::join(task_ids(), ", ")));
}

// What is played, and by whom.
class Evaluation {
 public:
  explicit Evaluation(TaskEvaluation asked) : asked_(std::move(asked)), family_(family_of(asked_.task)) {
    with_config_errors([&] {
      environment_ = family_.environment(asked_.task, asked_.options);
      validate(asked_.episodes);
    });
    if (asked_.policies.empty()) asked_.policies = family_.usual_controllers();
    if (asked_.policies == std::vector<std::string>{"none"}) asked_.policies.clear();
    for (const auto& name : asked_.policies) controller(name);
  }

  std::string run(std::vector<NamedModel> models) {
    if (models.empty() && asked_.policies.empty()) throw ConfigError("--policy: expected a policy or a --checkpoint, got none");
    for (auto& model : models) {
      model.trained.domain = with_config_errors([&] { return model.trained.config.data->planning_domain(); });
      check_model(model);
    }
    std::vector<EpisodeReport> reports;
    for (const auto& [name, trained] : models) {
      const auto planner = make_planner(trained);
      spdlog::info("{}: {}", name, planner->describe());
      reports.push_back(play(*planner, name));
    }
    for (const auto& name : asked_.policies) reports.push_back(play(*controller(name), name));
    const auto table = episode_table(reports);
    write_atomically(asked_.out / "table.txt", table);
    write_atomically(asked_.out / "episodes.csv", episode_csv(reports));
    write_atomically(asked_.out / "report.json", episode_json(reports));
    EpisodePageFiles files;
    if (asked_.pictures) files = write_pictures(reports, models.empty() ? nullptr : &models.front().trained);
    write_atomically(asked_.out / "index.html", episode_page(reports, asked_.command, files));
    return table;
  }

 private:
  std::unique_ptr<Policy> controller(const std::string& name) const {
    if (name == "random") return make_random_policy(environment_->spec());
    const auto known = family_.controllers();
    if (std::find(known.begin(), known.end(), name) != known.end()) return family_.controller(name, asked_.task);
    throw ConfigError(fmt::format("--policy: unknown policy '{}'; expected none or one of: {}random", name,
                                  known.empty() ? "" : fmt::format("{}, ", fmt::join(known, ", "))));
  }

  void check_model(const NamedModel& model) const {
    try {
      family_.check_model(asked_.task, model.trained.domain.get());
    } catch (const Error& error) {
      throw ConfigError(fmt::format("--checkpoint {}: {}", model.name, error.what()));
    }
  }

  EpisodeReport play(Policy& policy, const std::string& name) {
    const auto& config = asked_.episodes;
    const int64_t steps = config.episodes * (config.steps > 0 ? config.steps : environment_->spec().steps);
    Progress progress(name, steps, "steps");
    auto report = run_episodes(*environment_, policy, config, 8, [&](double fraction) {
      progress.update(std::llround(fraction * static_cast<double>(steps)));
      return !(asked_.stop && asked_.stop());
    });
    progress.finish();
    report.policy = name;
    return report;
  }

  EpisodePageFiles write_pictures(const std::vector<EpisodeReport>& reports, const TrainedModel* planner) {
    constexpr double frames_a_second = 25.0;
    const double rate = environment_->spec().steps_a_second;
    const int64_t every = std::max<int64_t>(1, std::llround(rate / frames_a_second));
    const EpisodeVideoOptions video{.fps = asked_.fps.value_or(rate / static_cast<double>(every))};
    EpisodePageFiles files{family_.sheet_name(), "closed_loop.mp4", ""};
    write_png(asked_.out / files.sheet, draw_episodes(*environment_, reports));
    write_closed_loop_video(asked_.out / files.closed_loop, *environment_, reports, 0, every, video);
    if (planner && write_denoising(*planner, reports.front(), video)) files.denoising = "denoising.mp4";
    return files;
  }

  // The plan of episode 0's start once more, row by row: watched while it plays, a planner would be slower than it is.
  // False: the planner has no rows to show.
  bool write_denoising(const TrainedModel& trained, const EpisodeReport& report, const EpisodeVideoOptions& video) {
    std::vector<Tensor> rows;
    const auto places = static_cast<int64_t>(environment_->spec().place.size());
    const auto planner = make_planner(trained, [&](int64_t, const Tensor& frames) {
      rows.push_back(frames.detach().narrow(1, 0, places).to(at::kCPU, at::kDouble, false, true));
    });
    environment_->reset(asked_.episodes.seed, 0, 1);
    planner->start(1, asked_.episodes.seed, 0);
    planner->act({environment_->observe(), 0, report.steps});
    if (rows.empty()) return false;
    write_denoising_video(asked_.out / "denoising.mp4", *environment_, at::stack(rows), report.episodes.front(), video);
    return true;
  }

  TaskEvaluation asked_;
  const TaskFamily& family_;
  std::unique_ptr<Environment> environment_;
};

}  // namespace

std::vector<std::string> task_ids() {
  std::vector<std::string> all;
  for (const auto& family : builtin_types().tasks)
    for (const auto& id : family->ids()) all.push_back(id);
  return all;
}

std::string task_policies() {
  std::string all;
  for (const auto& family : builtin_types().tasks)
    for (const auto& name : family->controllers()) all += name + ", ";
  return all + "random";
}

std::string evaluate_task(TaskEvaluation evaluation, const std::function<std::vector<NamedModel>()>& load) {
  Evaluation all(std::move(evaluation));
  return all.run(load());
}

}  // namespace df
