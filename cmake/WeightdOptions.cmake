set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)

option(WEIGHTD_WERROR "Treat warnings as errors" ON)
option(WEIGHTD_LOCK_CHECKS "The daemon ends where locks are taken in two orders (costs time)" OFF)
option(WEIGHTD_FUZZ "Build the libFuzzer targets (clang only)" OFF)
set(WEIGHTD_SANITIZE "" CACHE STRING "Value for -fsanitize=, empty for none")
# A sanitizer wants libraries that it can stand in front of.
include(CMakeDependentOption)
cmake_dependent_option(WEIGHTD_STATIC
  "Link weightd and weightctl with Debian's archives of gRPC, Protobuf, Abseil, OpenSSL" ON "NOT WEIGHTD_SANITIZE" OFF)

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
endif()

# GCC 12 takes a std::string that was moved out of a StatusOr for uninitialised, as its inliner
# pleases: clang's and clang-tidy's checks stay.
add_library(weightd_warnings INTERFACE)
target_compile_options(weightd_warnings INTERFACE
  -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wold-style-cast -Woverloaded-virtual -Wformat=2
  $<$<CXX_COMPILER_ID:Clang>:-Wthread-safety>
  $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>
  $<$<BOOL:${WEIGHTD_WERROR}>:-Werror>)

if(WEIGHTD_SANITIZE)
  add_compile_options(-fsanitize=${WEIGHTD_SANITIZE} -fno-omit-frame-pointer -g1 -O1)
  add_link_options(-fsanitize=${WEIGHTD_SANITIZE})
  if(WEIGHTD_SANITIZE MATCHES undefined)
    add_compile_options(-fno-sanitize-recover=undefined)
  endif()
endif()
