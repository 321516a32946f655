#include "tests/fuzz/fuzz_entry.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  weightd::testing::FuzzTensorsFile(data, size);
  return 0;
}
