# find_package(weightd) gives the target weightd::client. It needs nothing but the library.
include(${CMAKE_CURRENT_LIST_DIR}/weightdTargets.cmake)
