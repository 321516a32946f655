#ifndef WEIGHTD_TESTS_SUPPORT_PROCESS_FILE_JUDGE_H_
#define WEIGHTD_TESTS_SUPPORT_PROCESS_FILE_JUDGE_H_

#include <weightd/client.h>

#include <string>
#include <vector>

namespace weightd::testing {

// Compares all of a mapping with safetensors files, which it reads with code of its own: names,
// dtypes, shapes, strides, alignment and every byte, and that the mapping holds nothing else.
//
// "same tensors=N bytes=N", or the first difference. Thread-safe.
std::string CompareWithFiles(const client::Mapping& mapping, const std::vector<std::string>& files);

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_SUPPORT_PROCESS_FILE_JUDGE_H_
