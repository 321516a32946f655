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

// .tensors files. `files` are safetensors files with the same tensors, outside of the root.
ContentCase Tensors(const std::string& root);         // as the reference writer writes it
ContentCase TensorsAligned(const std::string& root);  // data on 256 bytes, as weightctl writes it
ContentCase TensorsShards(const std::string& root);   // three in a directory
ContentCase TensorsWithoutIndex(const std::string& root);
ContentCase TensorsManySmall(const std::string& root);  // 5,000 of a few hundred bytes
ContentCase TensorsDtypes(const std::string& root);     // all that both formats have

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_INTEGRATION_DAEMON_CONTENT_CASES_H_
