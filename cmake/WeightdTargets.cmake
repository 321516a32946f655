# weightd_library(NAME SOURCES ... HEADERS ... PUBLIC ... PRIVATE ...)
# The static library of one folder. Headers are part of the target and are compiled on their own
# by the target `all_verify_interface_header_sets`.
function(weightd_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;HEADERS;PUBLIC;PRIVATE" ${ARGN})
  if(ARG_SOURCES)
    add_library(${name} STATIC)
    target_sources(${name} PRIVATE ${ARG_SOURCES}
      PUBLIC FILE_SET HEADERS BASE_DIRS ${PROJECT_SOURCE_DIR} FILES ${ARG_HEADERS})
    target_link_libraries(${name} PUBLIC ${ARG_PUBLIC} PRIVATE ${ARG_PRIVATE} weightd_warnings)
  else()
    add_library(${name} INTERFACE)
    target_sources(${name} INTERFACE FILE_SET HEADERS BASE_DIRS ${PROJECT_SOURCE_DIR} FILES ${ARG_HEADERS})
    target_link_libraries(${name} INTERFACE ${ARG_PUBLIC})
  endif()
  set_target_properties(${name} PROPERTIES VERIFY_INTERFACE_HEADER_SETS ON)
endfunction()

# weightd_program(NAME SOURCES ... LIBS ...)
# What is installed and put into the image: with WEIGHTD_STATIC it needs few shared libraries.
function(weightd_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LIBS} weightd_warnings)
  if(WEIGHTD_STATIC)
    set(script ${PROJECT_SOURCE_DIR}/cmake/link_archives.sh)
    set_target_properties(${name} PROPERTIES RULE_LAUNCH_LINK ${script} LINK_DEPENDS ${script})
  endif()
endfunction()

# weightd_proto_library(NAME BASE_DIR dir PROTOS a.proto ... [GRPC] PUBLIC ...)
# Generated code, compiled without our warnings. Includes are relative to BASE_DIR.
function(weightd_proto_library name)
  cmake_parse_arguments(ARG "GRPC" "BASE_DIR" "PROTOS;PUBLIC" ${ARGN})
  set(out ${CMAKE_CURRENT_BINARY_DIR}/generated)
  file(MAKE_DIRECTORY ${out})
  set(generated "")
  foreach(proto IN LISTS ARG_PROTOS)
    string(REGEX REPLACE "\\.proto$" "" stem ${proto})
    set(files ${out}/${stem}.pb.cc ${out}/${stem}.pb.h)
    set(flags --cpp_out=${out})
    set(plugin "")
    if(ARG_GRPC)
      list(APPEND files ${out}/${stem}.grpc.pb.cc ${out}/${stem}.grpc.pb.h)
      list(APPEND flags --grpc_out=${out} --plugin=protoc-gen-grpc=$<TARGET_FILE:gRPC::grpc_cpp_plugin>)
    endif()
    add_custom_command(OUTPUT ${files}
      COMMAND protobuf::protoc -I ${ARG_BASE_DIR} -I ${PROJECT_SOURCE_DIR}/proto ${flags} ${ARG_BASE_DIR}/${proto}
      DEPENDS ${ARG_BASE_DIR}/${proto} VERBATIM)
    list(APPEND generated ${files})
  endforeach()
  add_library(${name} STATIC ${generated})
  target_include_directories(${name} SYSTEM PUBLIC ${out})
  target_link_libraries(${name} PUBLIC protobuf::libprotobuf ${ARG_PUBLIC})
endfunction()

# weightd_test(NAME LABEL unit|contract|integration SOURCES ... LIBS ... [TIMEOUT seconds]
#              [ENVIRONMENT name=value ...])
# A GoogleTest program; each of its tests is a test of CTest, run with ENVIRONMENT. The fake CUDA
# driver is chosen so: ENVIRONMENT ${WEIGHTD_FAKE_CUDA_ENVIRONMENT}.
function(weightd_test name)
  cmake_parse_arguments(ARG "" "LABEL;TIMEOUT" "SOURCES;LIBS;ENVIRONMENT" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
  target_link_libraries(${name} PRIVATE ${ARG_LIBS} GTest::gmock GTest::gtest_main weightd_warnings)
  set(properties LABELS ${ARG_LABEL} TIMEOUT ${ARG_TIMEOUT})
  if(ARG_ENVIRONMENT)
    # On the way through the discovery script three layers halve the backslashes before a semicolon.
    string(REPEAT "\\" 8 escape)
    list(JOIN ARG_ENVIRONMENT "${escape};" values)
    gtest_discover_tests(${name} DISCOVERY_TIMEOUT 60 PROPERTIES ${properties} ENVIRONMENT "${values}")
  else()
    gtest_discover_tests(${name} DISCOVERY_TIMEOUT 60 PROPERTIES ${properties})
  endif()
endfunction()

# weightd_man_page(PROGRAM SECTION ARGUMENT [COMPONENT name])
# PROGRAM.SECTION, which the program itself writes, so that it has what --help has. Installed.
function(weightd_man_page program section argument)
  cmake_parse_arguments(ARG "" "COMPONENT" "" ${ARGN})
  set(page ${PROJECT_BINARY_DIR}/man/${program}.${section})
  add_custom_command(OUTPUT ${page}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${PROJECT_BINARY_DIR}/man
    COMMAND $<TARGET_FILE:${program}> ${argument} > ${page}
    DEPENDS ${program} VERBATIM)
  add_custom_target(${program}_man ALL DEPENDS ${page})
  if(ARG_COMPONENT)
    set(component COMPONENT ${ARG_COMPONENT})
  endif()
  include(GNUInstallDirs)
  # Not there where only the programs were built.
  install(FILES ${page} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section} ${component} OPTIONAL)
endfunction()
