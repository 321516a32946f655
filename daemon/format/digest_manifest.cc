#include "daemon/format/digest_manifest.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "daemon/format/invalid.h"
#include "daemon/format/json_reader.h"
#include "daemon/format/text.h"

namespace weightd {
namespace {

constexpr uint64_t kVersion = 1;

class DigestsHandler final : public JsonHandler {
 public:
  explicit DigestsHandler(uint64_t tensors_max) : tensors_max_(tensors_max) {}

  absl::Status StartObject() override {
    if (depth_ == 0 || (depth_ == 1 && key_ == "xxh3_128" && !has_digests_)) {
      has_digests_ = depth_++ == 1;
      return absl::OkStatus();
    }
    return JsonError("an object where none belongs");
  }
  absl::Status EndObject() override {
    --depth_;
    return absl::OkStatus();
  }
  absl::Status StartArray() override { return JsonError("an array where none belongs"); }
  absl::Status EndArray() override { return absl::OkStatus(); }
  absl::Status Key(absl::string_view key) override {
    key_ = std::string(key);
    return absl::OkStatus();
  }
  absl::Status Scalar(const JsonScalar& scalar) override {
    if (depth_ == 2) return Digest(scalar);
    if (depth_ != 1 || key_ != "version") return JsonError("a value where none belongs");
    if (scalar.kind != JsonScalar::Kind::kUnsigned || scalar.number != kVersion) {
      return JsonError(absl::StrCat("version is ", scalar.Describe(), ", wanted 1"));
    }
    has_version_ = true;
    return absl::OkStatus();
  }

  bool is_complete() const { return has_version_ && has_digests_; }
  absl::flat_hash_map<std::string, TensorDigest> digests;

 private:
  absl::Status Digest(const JsonScalar& scalar) {
    const auto is_lower_hex = [](char c) {
      return absl::ascii_isxdigit(c) && !absl::ascii_isupper(c);
    };
    if (scalar.kind != JsonScalar::Kind::kString ||
        scalar.text.size() != 2 * sizeof(TensorDigest) ||
        !std::all_of(scalar.text.begin(), scalar.text.end(), is_lower_hex)) {
      return JsonError(absl::StrCat("tensor ", Quoted(key_), ": got ", scalar.Describe(),
                                    ", wanted 32 hexadecimal digits"));
    }
    if (digests.size() >= tensors_max_) {
      return JsonError(absl::StrCat("more tensors than the ", tensors_max_, " that are allowed"));
    }
    const auto [entry, is_new] = digests.try_emplace(key_);
    if (!is_new) return JsonError(absl::StrCat("tensor ", Quoted(key_), " occurs twice"));
    const std::string bytes = absl::HexStringToBytes(scalar.text);
    std::memcpy(entry->second.data(), bytes.data(), entry->second.size());
    return absl::OkStatus();
  }

  const uint64_t tensors_max_;
  int depth_ = 0;
  std::string key_;
  bool has_version_ = false;
  bool has_digests_ = false;
};

absl::Status Failed(const DigestManifest& wanted, absl::string_view message) {
  return ErrorWithReason(absl::StatusCode::kDataLoss, Reason::kIntegrityFailed,
                         absl::StrCat("compare with ", wanted.path, ": ", message),
                         {{"file", wanted.path}});
}

}  // namespace

absl::StatusOr<DigestManifest> ParseDigestManifest(std::string text, absl::string_view path,
                                                   uint64_t tensors_max) {
  DigestsHandler handler(tensors_max);
  RETURN_IF_ERROR(WithFile(ReadJson({.text = std::move(text), .what = path}, handler), path));
  if (!handler.is_complete()) {
    return WithFile(JsonError(absl::StrCat("read ", path, ": wanted version and xxh3_128")), path);
  }
  return DigestManifest{.path = std::string(path), .digests = std::move(handler.digests)};
}

std::string DigestManifestText(const Manifest& manifest, const std::vector<TensorDigest>& digests) {
  std::string text = "{\"version\":1,\"xxh3_128\":{";
  for (size_t i = 0; i < digests.size(); ++i) {
    absl::StrAppend(&text, i == 0 ? "\n" : ",\n", JsonString(manifest.tensors[i].name), ":\"",
                    DigestText(digests[i]), "\"");
  }
  return text + "\n}}\n";
}

absl::Status CheckDigestNames(const DigestManifest& wanted, const Manifest& manifest) {
  for (const TensorEntry& tensor : manifest.tensors) {
    if (wanted.digests.contains(tensor.name)) continue;
    return Failed(wanted, absl::StrCat("it does not have tensor ", Quoted(tensor.name)));
  }
  if (wanted.digests.size() == manifest.tensors.size()) return absl::OkStatus();
  return Failed(wanted, absl::StrCat("it has ", wanted.digests.size(), " tensors, the checkpoint ",
                                     manifest.tensors.size()));
}

absl::Status CheckDigests(const DigestManifest& wanted, const Manifest& manifest,
                          const std::vector<TensorDigest>& digests) {
  for (size_t i = 0; i < digests.size(); ++i) {
    const TensorDigest& want = wanted.digests.at(manifest.tensors[i].name);
    if (digests[i] == want) continue;
    return Failed(wanted,
                  absl::StrCat("tensor ", Quoted(manifest.tensors[i].name), ": its XXH3-128 is ",
                               DigestText(digests[i]), ", wanted ", DigestText(want)));
  }
  return absl::OkStatus();
}

}  // namespace weightd
