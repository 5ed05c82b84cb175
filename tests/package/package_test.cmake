# Run by ctest; see CMakeLists.txt.
set(folder ${BUILD}/package_test)
file(REMOVE_RECURSE ${folder})

function(run)
  execute_process(COMMAND ${ARGV} RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    list(JOIN ARGV " " command)
    message(FATAL_ERROR "failed (${status}): ${command}")
  endif()
endfunction()

run(${CMAKE_COMMAND} --install ${BUILD} --config ${CONFIGURATION} --prefix ${folder}/first)
file(RENAME ${folder}/first ${folder}/moved)

# Neither the source tree nor the environment may help: only the prefix is given.
unset(ENV{LIBTORCH_ROOT})
unset(ENV{LD_LIBRARY_PATH})
run(${CMAKE_COMMAND} -S ${EXAMPLES} -B ${folder}/build -G ${GENERATOR} -DCMAKE_PREFIX_PATH=${folder}/moved
    -DCMAKE_BUILD_TYPE=${CONFIGURATION} -DCMAKE_CXX_COMPILER=${COMPILER} -DCMAKE_CXX_COMPILER_LAUNCHER=${LAUNCHER} "-DCMAKE_CXX_FLAGS=${FLAGS}")
run(${CMAKE_COMMAND} --build ${folder}/build)
run(${folder}/build/example_own_schedule)
run(${folder}/build/example_own_data ${folder}/waves)
run(${folder}/build/example_own_df_train ${EXAMPLES}/own_df_train.yaml ${folder}/sine)

set(config ${folder}/moved/${DATADIR}/diffusion_forcing/configs/video_quick.yaml)
if(EXISTS ${config})
  execute_process(COMMAND ${folder}/build/example_train_and_roll_out ${config} training.steps=2 training.batch=2 training.warmup=1
      training.cpu_workers=0 model.width=8 sampling.steps=2
    WORKING_DIRECTORY ${folder} RESULT_VARIABLE status)
  file(SIZE ${folder}/example.mp4 size)
  if(NOT status EQUAL 0 OR size LESS 1000)
    message(FATAL_ERROR "example_train_and_roll_out failed (${status}), wrote ${size} bytes")
  endif()
  file(RENAME ${folder}/runs/example ${folder}/runs/quickstart)  # where the README's example looks
  execute_process(COMMAND ${folder}/build/example_sample_by_matrix WORKING_DIRECTORY ${folder} RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "example_sample_by_matrix failed (${status})")
  endif()
endif()

execute_process(COMMAND ${folder}/build/example_plan_by_own_reward WORKING_DIRECTORY ${folder}/moved/${DATADIR}/diffusion_forcing
                RESULT_VARIABLE status)  # it loads assets/maze2d_umaze
if(NOT status EQUAL 0)
  message(FATAL_ERROR "example_plan_by_own_reward failed (${status})")
endif()

foreach(program IN LISTS PROGRAMS)
  run(${folder}/moved/${BINDIR}/${program} --version)
endforeach()
file(REMOVE_RECURSE ${folder})
