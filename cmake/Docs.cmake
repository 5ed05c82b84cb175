# cmake --build build --target docs: the API reference of the public headers, build/docs/html/index.html.
find_package(Doxygen QUIET)
find_package(Python3 QUIET COMPONENTS Interpreter)
if(DOXYGEN_FOUND AND Python3_FOUND)
  configure_file(docs/Doxyfile.in ${PROJECT_BINARY_DIR}/docs/Doxyfile @ONLY)
  add_custom_target(docs
    COMMAND ${CMAKE_COMMAND} -D DOXYGEN=${DOXYGEN_EXECUTABLE} -D FOLDER=${PROJECT_BINARY_DIR}/docs
            -P ${PROJECT_SOURCE_DIR}/cmake/RunDoxygen.cmake
    COMMENT "Writing the API reference" VERBATIM)
else()
  add_custom_target(docs
    COMMAND ${CMAKE_COMMAND} -E echo "The API reference needs Doxygen: apt-get install doxygen python3, then configure again."
    COMMAND ${CMAKE_COMMAND} -E false
    VERBATIM)
endif()
