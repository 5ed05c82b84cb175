// SPDX-License-Identifier: MIT
#include "core/load_library.hpp"

#include <dlfcn.h>
#include <fmt/format.h>

#include <filesystem>

#include "diffusion_forcing/core/error.hpp"

namespace df {

void* open_library(const std::string& file, Symbols symbols, std::string* message) {
  const int mode = RTLD_NOW | (symbols == Symbols::global ? RTLD_GLOBAL : RTLD_LOCAL);
  std::filesystem::path path = file;
  Dl_info here{};
  if (dladdr(reinterpret_cast<void*>(&open_library), &here) && here.dli_fname) {
    const auto beside = std::filesystem::path(here.dli_fname).parent_path() / file;
    std::error_code failed;
    if (std::filesystem::exists(beside, failed)) path = beside;
  }
  void* library = dlopen(path.c_str(), mode);
  if (!library && message) *message = dlerror();
  return library;
}

void* library_function(const std::string& file, const char* symbol, const std::string& purpose) {
  std::string message;
  void* library = open_library(file, Symbols::local, &message);
  if (!library) throw Error(fmt::format("{} {}: {}", purpose, file, message));
  void* function = dlsym(library, symbol);
  if (!function) throw Error(fmt::format("{}: expected the symbol {}, it is from another version", file, symbol));
  return function;
}

}  // namespace df
