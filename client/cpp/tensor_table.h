#ifndef WEIGHTD_CLIENT_CPP_TENSOR_TABLE_H_
#define WEIGHTD_CLIENT_CPP_TENSOR_TABLE_H_

#include <weightd/client.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "weightd/v1/weight_cache.pb.h"

namespace weightd::client {

// The tensors of one grant: built batch by batch as they arrive, then looked up by name.
//
// Nothing that the daemon sends is believed: a tensor that does not lie inside its allocation,
// whose shape and bytes disagree, or whose name comes twice is an INTERNAL error that says which.
// Thread-compatible. Tensors point into the table, which therefore does not move.
class TensorTable {
 public:
  // `granted` is copied from, not kept.
  explicit TensorTable(const v1::Granted& granted);
  TensorTable(const TensorTable&) = delete;
  TensorTable& operator=(const TensorTable&) = delete;

  absl::Status Add(const v1::TensorBatch& batch);
  // All batches came: counts and bytes are those of the grant.
  absl::Status CheckComplete() const;
  // Points the tensors at the mapped allocations; `bases` has one address per allocation.
  void SetBases(absl::Span<const std::byte* const> bases);

  const Tensor* Find(absl::string_view name) const;
  const std::vector<Tensor>& tensors() const { return tensors_; }
  const std::string& device() const { return device_; }
  uint64_t total_bytes() const { return bytes_; }

 private:
  // Where a batch's names, shapes and strides are: three allocations for all of its tensors.
  struct Chunk {
    std::string names;
    std::vector<int64_t> shapes;
    std::vector<int64_t> strides;
  };
  struct Place {
    uint32_t allocation_index;
    uint64_t offset;
  };

  absl::Status AddOne(const v1::Tensor& message, Chunk& chunk);

  const std::string device_;
  const std::vector<uint64_t> allocation_bytes_;
  const uint64_t tensor_count_;
  const uint64_t tensor_bytes_;
  uint64_t bytes_ = 0;
  std::vector<std::unique_ptr<Chunk>> chunks_;
  std::vector<Tensor> tensors_;
  std::vector<Place> places_;  // parallel to tensors_
  absl::flat_hash_map<absl::string_view, size_t> index_by_name_;
};

}  // namespace weightd::client

#endif  // WEIGHTD_CLIENT_CPP_TENSOR_TABLE_H_
