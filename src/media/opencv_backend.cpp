// SPDX-License-Identifier: MIT
// OpenCV behind the plain interface of backend.hpp. Its matrices are BGR; the border is here.
#include <algorithm>
#include <cmath>
#include <opencv2/core.hpp>
#include <opencv2/core/utils/logger.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include "diffusion_forcing/core/error.hpp"
#include "media/backend.hpp"

namespace df::media {

namespace {

constexpr double font_height = 29.0;  // of the simplex font at scale 1, ascenders included
constexpr int shift = 4;              // sixteenths of a pixel
std::vector<cv::Point> fixed_point(const std::vector<Point>& points) {
  std::vector<cv::Point> fixed;
  for (const auto& [x, y] : points) fixed.emplace_back(cvRound(x * (1 << shift)), cvRound(y * (1 << shift)));
  return fixed;
}

class OpenCv final : public Backend {
 public:
  OpenCv() { cv::utils::logging::setLogLevel(cv::utils::logging::LOG_LEVEL_SILENT); }  // errors come back as df::Error instead
  std::string encode_png(const uint8_t* rgb, int64_t height, int64_t width) override {
    const cv::Mat picture(static_cast<int>(height), static_cast<int>(width), CV_8UC3, const_cast<uint8_t*>(rgb));
    cv::Mat bgr;
    cv::cvtColor(picture, bgr, cv::COLOR_RGB2BGR);
    std::vector<uint8_t> bytes;
    if (!cv::imencode(".png", bgr, bytes)) throw Error("this OpenCV build has no PNG encoder");
    return {bytes.begin(), bytes.end()};
  }
  Image decode_image(std::string_view bytes, const std::string& name) override {
    cv::Mat bgr;
    if (!bytes.empty())
      bgr = cv::imdecode(cv::Mat(1, static_cast<int>(bytes.size()), CV_8U, const_cast<char*>(bytes.data())), cv::IMREAD_COLOR);
    if (bgr.empty()) throw Error(name + ": expected a picture (png, jpg, bmp, ...), got something that OpenCV cannot decode");
    Image image{bgr.rows, bgr.cols, std::vector<uint8_t>(bgr.total() * 3)};
    cv::cvtColor(bgr, cv::Mat(bgr.rows, bgr.cols, CV_8UC3, image.rgb.data()), cv::COLOR_BGR2RGB);
    return image;
  }
  void fit(const uint8_t* from, int64_t height, int64_t width, uint8_t* to, int64_t to_height, int64_t to_width) override {
    const cv::Mat source(static_cast<int>(height), static_cast<int>(width), CV_8UC3, const_cast<uint8_t*>(from));
    cv::Mat target(static_cast<int>(to_height), static_cast<int>(to_width), CV_8UC3, to);
    const double scale =
        std::max(static_cast<double>(to_height) / static_cast<double>(height), static_cast<double>(to_width) / static_cast<double>(width));
    const int rows = std::clamp(static_cast<int>(std::lround(static_cast<double>(to_height) / scale)), 1, source.rows);
    const int columns = std::clamp(static_cast<int>(std::lround(static_cast<double>(to_width) / scale)), 1, source.cols);
    const cv::Mat middle = source(cv::Rect((source.cols - columns) / 2, (source.rows - rows) / 2, columns, rows));
    cv::resize(middle, target, target.size(), 0, 0, scale < 1 ? cv::INTER_AREA : cv::INTER_LINEAR);
  }
  void draw_line(uint8_t* rgb, int64_t height, int64_t width, const std::vector<Point>& points, Colour colour, double thickness) override {
    cv::Mat picture(static_cast<int>(height), static_cast<int>(width), CV_8UC3, rgb);
    cv::polylines(picture, fixed_point(points), false, cv::Scalar(colour[0], colour[1], colour[2]), std::max(1, cvRound(thickness)),
                  cv::LINE_AA, shift);
  }
  void draw_text(uint8_t* rgb, int64_t height, int64_t width, const std::string& text, Point baseline, double size,
                 Colour colour) override {
    cv::Mat picture(static_cast<int>(height), static_cast<int>(width), CV_8UC3, rgb);
    cv::putText(picture, text, cv::Point(cvRound(baseline[0]), cvRound(baseline[1])), cv::FONT_HERSHEY_SIMPLEX, size / font_height,
                cv::Scalar(colour[0], colour[1], colour[2]), size > 17.0 ? 2 : 1, cv::LINE_AA);
  }
  void fill_polygon(uint8_t* rgb, int64_t height, int64_t width, const std::vector<Point>& corners, Colour colour) override {
    cv::Mat picture(static_cast<int>(height), static_cast<int>(width), CV_8UC3, rgb);
    cv::fillPoly(picture, std::vector{fixed_point(corners)}, cv::Scalar(colour[0], colour[1], colour[2]), cv::LINE_AA, shift);
  }
  double text_width(const std::string& text, double size) override {
    int baseline = 0;
    return cv::getTextSize(text, cv::FONT_HERSHEY_SIMPLEX, size / font_height, 1, &baseline).width;
  }
};

}  // namespace

}  // namespace df::media

extern "C" __attribute__((visibility("default"))) df::media::Backend* df_media_backend() {
  static auto& backend = *new df::media::OpenCv;  // leaked: readers may outlive static objects
  return &backend;
}
