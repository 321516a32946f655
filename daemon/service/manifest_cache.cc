#include "daemon/service/manifest_cache.h"

#include <algorithm>
#include <utility>

namespace weightd {
namespace {

constexpr size_t kKeptMax = 4;
constexpr absl::Duration kKeptTime = absl::Seconds(60);

}  // namespace

bool IsSameCheckpoint(const Checkpoint& a, const Checkpoint& b) {
  return a.model == b.model && a.volume == b.volume && a.directory == b.directory &&
         a.shard_paths == b.shard_paths && a.identities == b.identities;
}

ManifestCache::Entry ManifestCache::Find(const std::shared_ptr<const Manifest>& manifest,
                                         absl::Time now) {
  for (Kept& one : kept_) {
    if (one.tensors->manifest != manifest) continue;
    one.last_use = now;
    return one.tensors;
  }
  return nullptr;
}

ManifestCache::Entry ManifestCache::Find(const Checkpoint& checkpoint, absl::Time now) {
  for (Kept& one : kept_) {
    if (!one.checkpoint.has_value() || !IsSameCheckpoint(*one.checkpoint, checkpoint)) continue;
    one.last_use = now;
    return one.tensors;
  }
  return nullptr;
}

void ManifestCache::Keep(Entry tensors, std::optional<Checkpoint> checkpoint, absl::Time now) {
  if (kept_.size() >= kKeptMax) {
    kept_.erase(std::min_element(kept_.begin(), kept_.end(), [](const Kept& a, const Kept& b) {
      return a.last_use < b.last_use;
    }));
  }
  kept_.push_back(
      {.tensors = std::move(tensors), .checkpoint = std::move(checkpoint), .last_use = now});
}

std::vector<ManifestCache::Entry> ManifestCache::TakeOld(absl::Time now) {
  std::vector<Entry> old;
  std::erase_if(kept_, [&](Kept& one) {
    if (now - one.last_use < kKeptTime) return false;
    old.push_back(std::move(one.tensors));
    return true;
  });
  return old;
}

absl::Time ManifestCache::next_old() const {
  absl::Time next = absl::InfiniteFuture();
  for (const Kept& one : kept_) next = std::min(next, one.last_use + kKeptTime);
  return next;
}

}  // namespace weightd
