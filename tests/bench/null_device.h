#ifndef WEIGHTD_TESTS_BENCH_NULL_DEVICE_H_
#define WEIGHTD_TESTS_BENCH_NULL_DEVICE_H_

#include <memory>

#include "daemon/device/device.h"

namespace weightd::bench {

// A GPU without memory, whose copies are over when they begin: a stage to it reads every block into
// the registered staging buffers as a stage to a real one does, and what is measured is the reading
// alone. Not a GPU, and no claim about one. Thread-safe.
std::unique_ptr<Device> CreateNullDevice();

}  // namespace weightd::bench

#endif  // WEIGHTD_TESTS_BENCH_NULL_DEVICE_H_
