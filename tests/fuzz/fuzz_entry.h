#ifndef WEIGHTD_TESTS_FUZZ_FUZZ_ENTRY_H_
#define WEIGHTD_TESTS_FUZZ_FUZZ_ENTRY_H_

#include <cstddef>
#include <cstdint>

// One entry function per format. Each takes any bytes, aborts where a promise of the parser does
// not hold, and is run by libFuzzer (WEIGHTD_FUZZ) and, over the committed corpus, by a plain test.

namespace weightd::testing {

// A file whose data section is not there: 8 bytes with its length (little-endian), then the header
// text.
void FuzzSafetensorsHeader(const uint8_t* data, size_t size);
// A whole .tensors file.
void FuzzTensorsFile(const uint8_t* data, size_t size);

// The text of an index.
void FuzzSafetensorsIndex(const uint8_t* data, size_t size);

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_FUZZ_FUZZ_ENTRY_H_
