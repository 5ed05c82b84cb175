# Finds LibTorch inside a PyTorch wheel without needing Python, nvcc or the CUDA toolkit.
#
# Looked for in: LIBTORCH_ROOT (variable or environment), <source>/.deps/libtorch, CMAKE_PREFIX_PATH, the python3 on PATH.
# Defines  LibTorch::cpu   libtorch_cpu + libc10: all that a program of this project links
#          LibTorch::cuda  the CUDA libraries of the wheel, where they and the toolkit's headers are there
#          LibTorch_VERSION, LibTorch_ROOT
#
# Upstream's find_package(Torch) of a CUDA wheel demands the CUDA toolkit even for programs that never touch a GPU.

set(_hints ${LIBTORCH_ROOT} $ENV{LIBTORCH_ROOT} ${PROJECT_SOURCE_DIR}/.deps/libtorch)
foreach(_prefix IN LISTS CMAKE_PREFIX_PATH)
  list(APPEND _hints ${_prefix} ${_prefix}/../..)
endforeach()
set(_roots ${_hints})
foreach(_hint IN LISTS _hints)
  list(APPEND _roots ${_hint}/torch)
endforeach()

find_path(LibTorch_INCLUDE_DIR torch/csrc/api/include/torch/torch.h HINTS ${_roots} PATH_SUFFIXES include NO_DEFAULT_PATH)
if(NOT LibTorch_INCLUDE_DIR)
  execute_process(
    COMMAND python3 -c "import importlib.util as u; s = u.find_spec('torch'); print(list(s.submodule_search_locations)[0] if s else '')"
    OUTPUT_VARIABLE _python_torch OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  find_path(LibTorch_INCLUDE_DIR torch/csrc/api/include/torch/torch.h HINTS ${_python_torch} PATH_SUFFIXES include)
endif()
get_filename_component(LibTorch_ROOT "${LibTorch_INCLUDE_DIR}/.." ABSOLUTE)
find_library(LibTorch_CPU_LIBRARY torch_cpu HINTS ${LibTorch_ROOT}/lib NO_DEFAULT_PATH)
find_library(LibTorch_C10_LIBRARY c10 HINTS ${LibTorch_ROOT}/lib NO_DEFAULT_PATH)

if(EXISTS "${LibTorch_INCLUDE_DIR}/torch/headeronly/version.h")
  file(STRINGS "${LibTorch_INCLUDE_DIR}/torch/headeronly/version.h" _version REGEX "define TORCH_VERSION_(MAJOR|MINOR|PATCH) ")
  string(REGEX REPLACE "[^0-9]+" "." _version "${_version}")
  string(REGEX REPLACE "^\\.|\\.$" "" LibTorch_VERSION "${_version}")
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorch
  REQUIRED_VARS LibTorch_CPU_LIBRARY LibTorch_C10_LIBRARY LibTorch_INCLUDE_DIR
  VERSION_VAR LibTorch_VERSION
  REASON_FAILURE_MESSAGE "run ./scripts/setup.sh, or pass -DLIBTORCH_ROOT=<folder that holds include/torch>")

if(LibTorch_FOUND AND NOT TARGET LibTorch::cpu)
  # -idirafter: the wheel's include folder carries a newer fmt that must not shadow the system's (spdlog is built on that).
  # nvcc does not know the flag; kernels do not include torch headers.
  add_library(LibTorch::cpu INTERFACE IMPORTED)
  target_compile_options(LibTorch::cpu INTERFACE
    "$<$<COMPILE_LANGUAGE:CXX>:SHELL:-idirafter ${LibTorch_INCLUDE_DIR}>"
    "$<$<COMPILE_LANGUAGE:CXX>:SHELL:-idirafter ${LibTorch_INCLUDE_DIR}/torch/csrc/api/include>")
  foreach(_name cpu c10)
    string(TOUPPER ${_name} _upper)
    add_library(LibTorch::${_name}_library SHARED IMPORTED)
    set_target_properties(LibTorch::${_name}_library PROPERTIES IMPORTED_LOCATION ${LibTorch_${_upper}_LIBRARY})
  endforeach()
  target_link_libraries(LibTorch::cpu INTERFACE LibTorch::cpu_library LibTorch::c10_library)
  target_link_options(LibTorch::cpu INTERFACE LINKER:--allow-shlib-undefined)

  find_library(LibTorch_CUDA_LIBRARY torch_cuda HINTS ${LibTorch_ROOT}/lib NO_DEFAULT_PATH)
  find_library(LibTorch_C10_CUDA_LIBRARY c10_cuda HINTS ${LibTorch_ROOT}/lib NO_DEFAULT_PATH)
  find_package(CUDAToolkit 13.0 QUIET)
  if(LibTorch_CUDA_LIBRARY AND LibTorch_C10_CUDA_LIBRARY AND CUDAToolkit_FOUND)
    add_library(LibTorch::cuda INTERFACE IMPORTED)
    target_link_libraries(LibTorch::cuda INTERFACE LibTorch::cpu CUDA::cudart
      -Wl,--push-state,--no-as-needed ${LibTorch_CUDA_LIBRARY} ${LibTorch_C10_CUDA_LIBRARY} -Wl,--pop-state)
  endif()
endif()
mark_as_advanced(LibTorch_INCLUDE_DIR LibTorch_CPU_LIBRARY LibTorch_C10_LIBRARY LibTorch_CUDA_LIBRARY LibTorch_C10_CUDA_LIBRARY)
