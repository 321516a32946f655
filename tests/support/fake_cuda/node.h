#ifndef WEIGHTD_TESTS_SUPPORT_FAKE_CUDA_NODE_H_
#define WEIGHTD_TESTS_SUPPORT_FAKE_CUDA_NODE_H_

#include <atomic>
#include <cstdint>
#include <string>

namespace fake_cuda {

// How much memory of each GPU the processes of a node have taken.
//
// /dev/shm/weightd-fake-cuda-NODE/ holds a file per process, with a counter per GPU, which its
// process keeps locked (flock) while it lives. A file that can be locked belongs to a dead process
// and is removed by whoever sees it. The file "lock" orders all of that. Thread-safe.
class Node {
 public:
  explicit Node(const std::string& name);
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  // Takes memory; false when less is free of `total_bytes`.
  bool Take(int gpu, uint64_t bytes, uint64_t total_bytes);
  void GiveBack(int gpu, uint64_t bytes);
  // By all processes.
  uint64_t UsedBytes(int gpu);
  // Removes this process's file, and the directory if it was the last. Before the process ends.
  void Leave();

 private:
  // The locked file "lock", or -1.
  int Lock() const;
  // With the lock held.
  uint64_t SumOfLiving(int gpu) const;

  const std::string directory_;
  std::string own_name_;
  // In the own file, or in private memory when /dev/shm cannot be used.
  std::atomic<uint64_t>* used_bytes_ = nullptr;
};

}  // namespace fake_cuda

#endif  // WEIGHTD_TESTS_SUPPORT_FAKE_CUDA_NODE_H_
