#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The checks that take too long for every change. Each has a build folder of its own, and the whole takes an hour and a half on two cores.
# Run it before a release, and the part that fits after a change to threads, memory or parsers.
#
#   scripts/check.sh [PART...]     all parts by default
#     clang   builds everything with clang; warnings are errors
#     asan    runs every test under AddressSanitizer and UndefinedBehaviorSanitizer
#     tsan    runs the tests of threads under ThreadSanitizer: the loader, worker pools, teams, streams
#     tidy    runs clang-tidy over the library and the programs, with the checks of .clang-tidy
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
case "${1:-}" in -h | --help) usage "$0"; exit 0 ;; esac

# Tests that start threads of ours. LibTorch's own code is not instrumented, so other tests would tell little and take long.
thread_tests='*Loader*:*WorkerPool*:*RowWorkers*:*Team*:*Stream*:*RecordedCall*:*SideStream*'

check_clang() {
  cmake --preset clang
  cmake --build --preset clang -j "$(build_jobs)"
}

check_asan() {
  cmake --preset asan
  cmake --build --preset asan -j "$(build_jobs)"
  ctest --preset asan
}

check_tsan() {
  cmake --preset tsan
  cmake --build --preset tsan -j "$(build_jobs)" --target test_core test_data test_training test_sampling
  local program
  for program in core data training sampling; do
    TSAN_OPTIONS="suppressions=$PWD/tests/support/tsan.supp halt_on_error=1 second_deadlock_stack=1" OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 \
      "build-tsan/bin/test_$program" --gtest_filter="$thread_tests" || die "ThreadSanitizer: test_$program failed"
  done
}

check_tidy() {
  cmake --preset clang
  git ls-files 'src/*.cpp' 'apps/*.cpp' | grep -v '^src/cuda/' |
    xargs -P "$(build_jobs)" -n 1 clang-tidy-14 -p build-clang --quiet --warnings-as-errors='*'
}

scripts/setup.sh --checks
[ $# -gt 0 ] || set -- clang asan tsan tidy
for part in "$@"; do
  case "$part" in clang | asan | tsan | tidy) ;; *) die "unknown part '$part'; see $0 --help" ;; esac
done
for part in "$@"; do
  say "Checking: $part"
  "check_$part"
done
say "All checks passed: $*"
