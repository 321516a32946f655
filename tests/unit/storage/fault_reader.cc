// Reads 4096 bytes of a file with the pread engine and prints the status:
// fault_reader ROOT PATH OFFSET

#include <array>
#include <cstdlib>
#include <iostream>

#include "common/status_macros.h"
#include "daemon/storage/read_queue.h"
#include "daemon/storage/volume.h"

namespace weightd {
namespace {

absl::Status Read(const std::string& root, const std::string& path, uint64_t offset) {
  std::array<std::byte, 4096> buffer{};
  ASSIGN_OR_RETURN(const auto volume, OpenVolume(root));
  ASSIGN_OR_RETURN(const auto file, volume->Open(path));
  ASSIGN_OR_RETURN(const auto queue, CreateReadQueue({.engine = ReadEngine::kPread}));
  RETURN_IF_ERROR(queue->Submit({.file = file.get(),
                                 .offset = offset,
                                 .length = buffer.size(),
                                 .buffer = absl::MakeSpan(buffer),
                                 .mode = ReadMode::kBuffered}));
  absl::Status result;
  RETURN_IF_ERROR(
      queue->Poll(absl::InfiniteDuration(), [&](const ReadDone& done) { result = done.status; }));
  return result;
}

}  // namespace
}  // namespace weightd

int main(int argc, char** argv) {
  if (argc != 4) return EXIT_FAILURE;
  const absl::Status status = weightd::Read(argv[1], argv[2], std::strtoull(argv[3], nullptr, 10));
  std::cout << status.ToString() << "\n";
  return EXIT_SUCCESS;
}
