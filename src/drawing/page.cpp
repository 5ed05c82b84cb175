// SPDX-License-Identifier: MIT
#include "diffusion_forcing/drawing/page.hpp"

#include <fmt/format.h>

#include "diffusion_forcing/core/version.hpp"
#include "drawing/markup.hpp"
#include "drawing/style.hpp"

namespace df::drawing {

namespace {

constexpr const char* styles = R"(
*{box-sizing:border-box}
html{background:var(--paper);color:var(--text);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif;
-webkit-text-size-adjust:100%}
body{max-width:78rem;margin:0 auto;padding:1.5rem 1rem 4rem}
h1{font-size:1.7rem;line-height:1.25;margin:0 0 .5rem}
h2{font-size:1.25rem;margin:2.5rem 0 .75rem;padding-top:.75rem;border-top:1px solid var(--grid)}
h3{font-size:1rem;margin:1.25rem 0 .25rem}
p,dd{max-width:46rem}
p{margin:.5rem 0}
a{color:var(--s0)}
small{color:var(--quiet);font-size:.8rem}
svg,img,video{display:block;max-width:100%;height:auto}
svg a{text-decoration:none}
.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,21rem),1fr));gap:1.5rem 1.25rem}
.plots svg{width:100%}
figure{margin:1rem 0}
figcaption{color:var(--quiet);font-size:.9rem;margin-top:.35rem}
video,img{border-radius:4px;background:var(--grid)}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--quiet);padding-bottom:.5rem;max-width:46rem}
th,td{padding:.35rem .9rem .35rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--grid)}
thead th{border-bottom:2px solid var(--rule);white-space:nowrap}
tbody th{font-weight:normal;min-width:9.5rem;position:sticky;left:0;background:var(--paper)}
tbody th small,td small{display:block;line-height:1.3}
td{white-space:nowrap}
td a{color:inherit;text-decoration:none}
td a:hover{text-decoration:underline}
.best{font-weight:700}
.best a{background:color-mix(in srgb,var(--s2) 25%,transparent);padding:.1rem .35rem;margin-left:-.35rem;border-radius:4px}
.best small{font-weight:normal}
.reference{color:var(--quiet)}
dt{font-weight:600;margin-top:.75rem}
dt:target,dt:target+dd{background:color-mix(in srgb,var(--s4) 22%,transparent)}
dd{margin:0}
pre{overflow-x:auto;background:color-mix(in srgb,var(--grid) 55%,transparent);padding:.75rem;border-radius:4px;font-size:.82rem}
ul{padding-left:1.1rem;margin:.5rem 0}
li{overflow-wrap:anywhere}
footer{margin-top:2.5rem;color:var(--quiet);font-size:.85rem}
#tip{position:fixed;z-index:1;pointer-events:none;white-space:pre;background:var(--text);color:var(--paper);padding:.3rem .5rem;
border-radius:4px;font-size:.8rem;line-height:1.35}
@media(min-width:60rem){td small{display:inline}}
@media(max-width:40rem){.wide img{max-width:none}}
)";

// Tags are closed as XML wants it, so that programs can read the page.

// Shows what a mark says at once and beside the pointer. Without scripts the browser shows it after a while.
constexpr const char* script = R"(
(()=>{
const tip=document.createElement('div');tip.id='tip';tip.hidden=true;tip.ariaHidden=true;document.body.append(tip);
for(const svg of document.querySelectorAll('svg')){const t=svg.querySelector(':scope>title');
if(t){svg.setAttribute('aria-label',t.textContent);t.remove()}}
document.addEventListener('pointermove',e=>{const mark=e.target.closest('.hover');tip.hidden=!mark;if(!mark)return;
const title=mark.querySelector(':scope>title');if(title){mark.dataset.tip=title.textContent;title.remove()}
tip.textContent=mark.dataset.tip;const box=tip.getBoundingClientRect();
tip.style.left=Math.max(4,Math.min(e.clientX+14,innerWidth-box.width-4))+'px';
tip.style.top=(e.clientY+18+box.height>innerHeight?e.clientY-box.height-10:e.clientY+18)+'px'});
document.addEventListener('pointerleave',()=>tip.hidden=true);
})();
)";

bool ends_with(const std::string& text, std::string_view ending) {
  return text.size() >= ending.size() && text.compare(text.size() - ending.size(), ending.size(), ending) == 0;
}

}  // namespace

Page::Page(std::string title, const std::string& lead) : title_(std::move(title)) {
  if (!lead.empty()) text(lead);
}

void Page::section(const std::string& title) { body_ += fmt::format("<h2 id=\"{}\">{}</h2>\n", identifier(title), escaped(title)); }

void Page::text(const std::string& paragraph) { body_ += fmt::format("<p>{}</p>\n", escaped(paragraph)); }

void Page::plots(const std::vector<Plot>& plots) {
  body_ += "<div class=\"plots\">\n";
  for (const Plot& plot : plots) body_ += inline_svg(draw(plot));
  body_ += "</div>\n";
}

void Page::scene(const Scene& scene) {
  body_ += fmt::format("<figure style=\"max-width:{:.0f}px\">{}</figure>\n", scene.width, inline_svg(scene));
}

void Page::table(const Table& table) { body_ += html_table(table); }

void Page::media(const Media& media) {
  const std::string file = escaped(media.file), words = escaped(media.words.empty() ? media.caption : media.words);
  const bool video = ends_with(media.file, ".mp4") || ends_with(media.file, ".webm");
  const std::string shown =
      video ? fmt::format(
                  "<video src=\"{0}\" controls=\"\" loop=\"\" muted=\"\" playsinline=\"\" preload=\"metadata\" aria-label=\"{1}\"></video>",
                  file, words)
            : fmt::format("<a href=\"{0}\"><img src=\"{0}\" alt=\"{1}\" loading=\"lazy\"/></a>", file, words);
  const std::string link = video ? fmt::format(" <a href=\"{0}\">{0}</a>", file) : "";
  body_ += fmt::format("<figure><div class=\"wide\">{}</div><figcaption>{}{}</figcaption></figure>\n", shown, escaped(media.caption), link);
}

void Page::files(const std::string& words, const std::vector<std::string>& names) {
  std::string links;
  for (const auto& name : names) links += fmt::format("{}<a href=\"{}\">{}</a>", links.empty() ? "" : ", ", escaped(name), escaped(name));
  body_ += fmt::format("<p>{} {}.</p>\n", escaped(words), links);
}

void Page::explanations(const std::vector<Explanation>& all) {
  body_ += "<dl>\n";
  for (const auto& one : all)
    body_ += fmt::format("<dt id=\"{}\">{}</dt><dd>{}</dd>\n", escaped(one.id), escaped(one.title), escaped(one.text));
  body_ += "</dl>\n";
}

void Page::facts(const std::string& heading, const std::vector<std::pair<std::string, std::string>>& all) {
  if (!heading.empty()) body_ += fmt::format("<h3>{}</h3>\n", escaped(heading));
  body_ += "<ul>\n";
  for (const auto& [name, value] : all) body_ += fmt::format("<li>{}: {}</li>\n", escaped(name), escaped(value));
  body_ += "</ul>\n";
}

void Page::code(const std::string& text) { body_ += fmt::format("<pre><code>{}</code></pre>\n", escaped(text)); }

std::string Page::html() const {
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/><meta name=\"viewport\" content=\"width=device-width\"/>"
      "<title>{0}</title><link rel=\"icon\" href=\"data:,\"/><style>{1}{2}</style></head><body>\n<h1>{0}</h1>\n{3}"
      "<footer>diffusion_forcing {4}, commit {5}</footer>\n<script>{6}</script>\n</body></html>\n",
      escaped(title_), colour_styles(), styles, body_, escaped(version()), escaped(commit()), script);
}

}  // namespace df::drawing
