# Everything comes from Debian 12's packages; deploy/packages.txt lists them by name.
find_package(Threads REQUIRED)
find_package(Protobuf REQUIRED)
find_package(absl CONFIG REQUIRED)
find_package(gRPC CONFIG REQUIRED)
find_package(CLI11 CONFIG REQUIRED)
find_package(nlohmann_json CONFIG REQUIRED)
find_package(prometheus-cpp CONFIG REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(RAPIDJSON REQUIRED IMPORTED_TARGET RapidJSON)
pkg_check_modules(URING REQUIRED IMPORTED_TARGET liburing)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(ISAL REQUIRED IMPORTED_TARGET libisal)
pkg_check_modules(SODIUM REQUIRED IMPORTED_TARGET libsodium)
pkg_check_modules(CRYPTO REQUIRED IMPORTED_TARGET libcrypto)
pkg_check_modules(WEIGHTD_ZLIB REQUIRED IMPORTED_TARGET zlib)  # ZLIB is what gRPC looks for

# Of CUDA only cuda.h is used, the driver's own library is looked up at run time: that of a CUDA
# Toolkit, else that of NVIDIA's wheel where a script of ours got it. Without it the same tree builds,
# uses no GPU, and the daemon says so; WEIGHTD_CUDA_INCLUDE_DIR=OFF says that this is meant.
find_path(WEIGHTD_CUDA_INCLUDE_DIR cuda.h
  HINTS ENV CUDA_HOME ENV CUDA_PATH
  PATHS /usr/local/cuda /usr/lib/cuda ${PROJECT_SOURCE_DIR}/build/cuda/nvidia/cuda_runtime
  PATH_SUFFIXES include)
add_library(weightd_cuda_headers INTERFACE)
if(WEIGHTD_CUDA_INCLUDE_DIR)
  target_include_directories(weightd_cuda_headers SYSTEM INTERFACE ${WEIGHTD_CUDA_INCLUDE_DIR})
  target_compile_definitions(weightd_cuda_headers INTERFACE WEIGHTD_HAVE_CUDA=1)
  message(STATUS "CUDA driver API: ${WEIGHTD_CUDA_INCLUDE_DIR}/cuda.h")
else()
  target_compile_definitions(weightd_cuda_headers INTERFACE WEIGHTD_HAVE_CUDA=0)
  if(WEIGHTD_CUDA_INCLUDE_DIR MATCHES "NOTFOUND")
    message(WARNING "There is no cuda.h here: what is built keeps models in host memory only and USES NO "
      "GPU. To have it use GPUs: `bash -c '. deploy/lib.sh && cuda_header'` gets cuda.h from PyPI, or "
      "-DWEIGHTD_CUDA_INCLUDE_DIR=DIR (CUDA_HOME) names the folder that holds it; configure again then. "
      "-DWEIGHTD_CUDA_INCLUDE_DIR=OFF says that no GPU is wanted.")
  else()
    message(STATUS "CUDA driver API: left out (WEIGHTD_CUDA_INCLUDE_DIR is OFF), for host memory only")
  endif()
endif()
