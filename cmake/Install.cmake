# cmake --install: the library, its headers and package configuration, the programs, the configs and the trained models.
#
# The installed tree can be moved as a whole: programs find the library by $ORIGIN/../lib. LibTorch is not copied; it is found by the absolute
# path that it had when this was built. Where it has moved since, LD_LIBRARY_PATH=<its torch/lib folder> tells the programs.
include(CMakePackageConfigHelpers)
get_filename_component(_libtorch_lib ${LibTorch_CPU_LIBRARY} DIRECTORY)

set(_libraries diffusion_forcing)
foreach(_room media video mujoco hdf5 cuda)
  if(TARGET diffusion_forcing_${_room})
    list(APPEND _libraries diffusion_forcing_${_room})
  endif()
endforeach()
set_target_properties(${_libraries} PROPERTIES INSTALL_RPATH "$ORIGIN;${_libtorch_lib}")
file(RELATIVE_PATH _lib_from_bin /${CMAKE_INSTALL_BINDIR} /${CMAKE_INSTALL_LIBDIR})
if(DF_APP_TARGETS)
  set_target_properties(${DF_APP_TARGETS} PROPERTIES INSTALL_RPATH "$ORIGIN/${_lib_from_bin};${_libtorch_lib}")
  install(TARGETS ${DF_APP_TARGETS} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

list(REMOVE_ITEM _libraries diffusion_forcing)
if(_libraries)
  install(TARGETS ${_libraries} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()
install(DIRECTORY include/diffusion_forcing DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.hpp")
if(EXISTS ${PROJECT_SOURCE_DIR}/configs)
  install(DIRECTORY configs DESTINATION ${CMAKE_INSTALL_DATADIR}/diffusion_forcing FILES_MATCHING PATTERN "*.yaml")
endif()
if(EXISTS ${PROJECT_SOURCE_DIR}/assets)
  install(DIRECTORY assets DESTINATION ${CMAKE_INSTALL_DATADIR}/diffusion_forcing)
endif()
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

# find_package(diffusion_forcing) -> diffusion_forcing::diffusion_forcing. Only the library is exported: the others it loads itself.
set(_package ${CMAKE_INSTALL_LIBDIR}/cmake/diffusion_forcing)
install(TARGETS diffusion_forcing EXPORT diffusion_forcingTargets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT diffusion_forcingTargets NAMESPACE diffusion_forcing:: DESTINATION ${_package})
configure_package_config_file(cmake/diffusion_forcingConfig.cmake.in ${PROJECT_BINARY_DIR}/diffusion_forcingConfig.cmake
  INSTALL_DESTINATION ${_package} NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/diffusion_forcingConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES cmake/FindLibTorch.cmake ${PROJECT_BINARY_DIR}/diffusion_forcingConfig.cmake
              ${PROJECT_BINARY_DIR}/diffusion_forcingConfigVersion.cmake DESTINATION ${_package})
