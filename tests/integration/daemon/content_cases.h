#ifndef WEIGHTD_TESTS_INTEGRATION_DAEMON_CONTENT_CASES_H_
#define WEIGHTD_TESTS_INTEGRATION_DAEMON_CONTENT_CASES_H_

#include <string>
#include <vector>

// Checkpoints that must arrive whole, on whatever device. Each function writes one below `root`.

namespace weightd::testing {

struct ContentCase {
  std::string model;
  std::vector<std::string> files;  // that hold its tensors
};

inline constexpr const char* kHubRevision = "0123456789abcdef0123456789abcdef01234567";

ContentCase SingleFile(const std::string& root);  // 24 MiB, some blocks and a tail
ContentCase Shards(const std::string& root);      // a Llama in four files with an index
ContentCase HubCache(const std::string& root);    // org/name, two files, symlinks into blobs/
// Every tensor at an odd place: the header's length is odd and a one-byte tensor comes first.
ContentCase Misaligned(const std::string& root);
ContentCase ManyTensors(const std::string& root);  // 10,000
ContentCase AllDtypes(const std::string& root);    // each with a scalar, an empty one and 3 by 8
ContentCase NoTensors(const std::string& root);

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_INTEGRATION_DAEMON_CONTENT_CASES_H_
