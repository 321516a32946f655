#include "tests/fuzz/fuzz_entry.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "common/dtype.h"
#include "common/errors.h"
#include "common/printable_text.h"
#include "daemon/format/safetensors.h"
#include "daemon/format/safetensors_index.h"
#include "daemon/format/tensors_shard.h"

namespace weightd::testing {
namespace {

constexpr absl::string_view kPath = "fuzz.safetensors";

void Require(bool holds, const char* promise) {
  if (holds) return;
  std::fprintf(stderr, "broken promise: %s\n", promise);
  std::abort();
}

// Errors go into logs and protobuf strings.
void RequireGoodError(const absl::Status& status) {
  Require(GetReason(status).has_value(), "errors have a reason");
  Require(FindInvalidUtf8(status.message()) == absl::string_view::npos, "messages are UTF-8");
  Require(status.message().size() < 2000, "messages are short");
}

void RequireTiling(const ShardHeader& header) {
  uint64_t end = 0;
  std::set<std::string> names;
  for (const TensorEntry& tensor : header.tensors) {
    // An empty tensor may be listed behind its neighbour of the same offset.
    Require(tensor.offset == end || tensor.bytes == 0, "tensors follow each other");
    Require(tensor.offset <= header.shard.data_bytes, "tensors begin in the data");
    end = tensor.offset + tensor.bytes > end ? tensor.offset + tensor.bytes : end;
    Require(TensorBytes(tensor.dtype, tensor.shape) == tensor.bytes, "bytes fit dtype and shape");
    Require(names.insert(tensor.name).second, "names are unique");
    Require(FindInvalidUtf8(tensor.name) == absl::string_view::npos, "names are UTF-8");
  }
  Require(end == header.shard.data_bytes, "tensors fill the data");
}

// Tensors of a .tensors file, with headers between them.
void RequireInOrder(const ShardHeader& header) {
  const ShardEntry& shard = header.shard;
  Require(shard.data_offset <= shard.file_bytes, "the data begins in the file");
  Require(shard.data_bytes <= shard.file_bytes - shard.data_offset, "the data ends in the file");
  Require(header.stored.size() == header.tensors.size(), "both lists are alike");
  uint64_t end = 0;
  std::set<std::string> names;
  for (const TensorEntry& tensor : header.tensors) {
    Require(tensor.offset >= end, "tensors are disjoint and in order");
    Require(tensor.file_bytes() <= shard.data_bytes - tensor.offset, "tensors lie in the data");
    end = tensor.offset + tensor.file_bytes();
    Require(TensorBytes(tensor.dtype, tensor.shape) == tensor.bytes, "bytes fit dtype and shape");
    Require(names.insert(tensor.name).second, "names are unique");
    Require(FindInvalidUtf8(tensor.name) == absl::string_view::npos, "names are UTF-8");
  }
}

}  // namespace

void FuzzSafetensorsHeader(const uint8_t* data, size_t size) {
  const auto prefix = absl::MakeConstSpan(reinterpret_cast<const std::byte*>(data), size);
  const auto length = ParseSafetensorsPrefix(prefix.first(size < 8 ? size : 8), size, kPath);
  if (length.ok()) Require(*length <= size - 8, "the header lies in the file");
  if (size < 8) return;

  uint64_t data_bytes = 0;
  std::memcpy(&data_bytes, data, sizeof(data_bytes));
  std::string text(reinterpret_cast<const char*>(data) + 8, size - 8);
  if (data_bytes > ~uint64_t{0} - size) return;
  const auto header = ParseSafetensorsHeader(std::move(text), size + data_bytes, kPath);
  if (header.ok()) {
    RequireTiling(*header);
  } else {
    RequireGoodError(header.status());
  }
}

void FuzzTensorsFile(const uint8_t* data, size_t size) {
  const auto file = absl::MakeConstSpan(reinterpret_cast<const std::byte*>(data), size);
  const auto read_at = [&](uint64_t offset, absl::Span<std::byte> to) {
    Require(offset <= size && to.size() <= size - offset, "reads lie in the file");
    const auto bytes = file.subspan(offset, to.size());
    std::copy(bytes.begin(), bytes.end(), to.begin());
    return absl::OkStatus();
  };
  const auto for_each = [](size_t count, absl::FunctionRef<absl::Status(size_t)> work) {
    absl::Status status;
    for (size_t i = 0; i < count && status.ok(); ++i) status = work(i);
    return status;
  };
  const auto header = ReadTensorsShard(read_at, for_each, size, kPath);
  if (!header.ok()) return RequireGoodError(header.status());
  RequireInOrder(*header);
}

void FuzzSafetensorsIndex(const uint8_t* data, size_t size) {
  std::string text(reinterpret_cast<const char*>(data), size);
  const auto index = ParseSafetensorsIndex(std::move(text), kPath);
  if (!index.ok()) return RequireGoodError(index.status());
  Require(!index->entries.empty(), "an index names a tensor");
  for (const SafetensorsIndex::Entry& entry : index->entries) {
    Require(entry.shard_index < index->shards.size(), "every tensor has a shard");
  }
  for (const std::string& shard : index->shards) {
    Require(shard.find('/') == std::string::npos && shard != "..", "shards are plain names");
  }
}

}  // namespace weightd::testing
