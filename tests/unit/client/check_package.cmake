# Installs the client library to a new place, builds client/cpp/example against nothing but that,
# and runs it next to the double of the daemon.
cmake_minimum_required(VERSION 3.25)

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT code EQUAL 0)
    message(FATAL_ERROR "${ARGN}\nexit code ${code}\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

file(REMOVE_RECURSE ${WORK_DIR})

run(${CMAKE_COMMAND} --install ${BUILD_DIR} --component client --prefix ${WORK_DIR}/prefix)
set(flags "")
if(SANITIZE)
  set(flags "-DCMAKE_CXX_FLAGS=-fsanitize=${SANITIZE}" "-DCMAKE_C_FLAGS=-fsanitize=${SANITIZE}")
endif()
run(${CMAKE_COMMAND} -S ${EXAMPLE_DIR} -B ${WORK_DIR}/build -D CMAKE_PREFIX_PATH=${WORK_DIR}/prefix
    -D CMAKE_CXX_COMPILER=${CXX} ${flags})
run(${CMAKE_COMMAND} --build ${WORK_DIR}/build)
foreach(example IN ITEMS attach_example attach_example_c)
  # Unix socket paths are short.
  execute_process(COMMAND mktemp -d /tmp/weightd-package-XXXXXX OUTPUT_VARIABLE socket_dir
    OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  run(${FAKE_DAEMON} ${socket_dir} 0 ${WORK_DIR}/build/${example} model b)
  foreach(expected IN ITEMS "generation 3 on host, 4 tensors" "a  F32 [2, 3]" "sum of b: 24")
    string(FIND "${output}" "${expected}" at)
    if(at EQUAL -1)
      message(FATAL_ERROR "${example} did not print `${expected}`:\n${output}")
    endif()
  endforeach()
  file(REMOVE_RECURSE ${socket_dir})
endforeach()

# Only weightd::client and the C functions are the library's, so that it can share a process with other code.
file(GLOB_RECURSE library ${WORK_DIR}/prefix/libweightd_client.so)
run(nm -DC --defined-only ${library})
string(REPLACE ";" "," output "${output}")
string(REGEX MATCHALL "[^\n]+" leaked "${output}")
list(FILTER leaked EXCLUDE REGEX "^[0-9a-f]+ T (weightd::client::|weightd_[a-z0-9_]+$)")
if(leaked)
  message(FATAL_ERROR "symbols that should stay inside: ${leaked}")
endif()
