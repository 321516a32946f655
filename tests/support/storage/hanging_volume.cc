#include "tests/support/storage/hanging_volume.h"

#include "common/status_macros.h"

namespace weightd::testing {
namespace {

class HangingFile final : public File {
 public:
  HangingFile(std::shared_ptr<File> inner, std::shared_ptr<Gate> gate)
      : inner_(std::move(inner)), gate_(std::move(gate)) {}

  const std::string& path() const override { return inner_->path(); }
  std::string real_name() const override { return inner_->real_name(); }
  const FileIdentity& identity() const override { return inner_->identity(); }
  uint32_t direct_alignment() const override { return inner_->direct_alignment(); }
  FileSystemKind file_system() const override { return inner_->file_system(); }
  int descriptor(ReadMode mode) const override { return inner_->descriptor(mode); }
  std::unique_ptr<FileUse> Use() const override {
    return std::make_unique<HangingUse>(inner_->Use(), gate_);
  }
  absl::Status ReadAt(uint64_t offset, absl::Span<std::byte> buffer) const override {
    gate_->Pass();
    return inner_->ReadAt(offset, buffer);
  }
  CacheLook LookInCache(uint64_t offset, uint64_t length) const override {
    return inner_->LookInCache(offset, length);
  }
  absl::Status CheckUnchanged() const override {
    gate_->Pass();
    return inner_->CheckUnchanged();
  }

 private:
  class HangingUse final : public FileUse {
   public:
    HangingUse(std::unique_ptr<FileUse> inner, std::shared_ptr<Gate> gate)
        : inner_(std::move(inner)), gate_(std::move(gate)) {}
    absl::StatusOr<bool> Ready() override {
      gate_->Pass();
      return inner_->Ready();
    }

   private:
    const std::unique_ptr<FileUse> inner_;
    const std::shared_ptr<Gate> gate_;
  };

  const std::shared_ptr<File> inner_;
  const std::shared_ptr<Gate> gate_;
};

}  // namespace

void Gate::Hang() {
  absl::MutexLock lock(&mu_);
  hangs_ = true;
}

void Gate::Release() {
  absl::MutexLock lock(&mu_);
  hangs_ = false;
}

void Gate::Pass() {
  absl::MutexLock lock(&mu_);
  ++held_;
  const auto open = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return !hangs_; };
  mu_.Await(absl::Condition(&open));
  --held_;
  ++passed_;
}

void Gate::AwaitHeld(uint32_t count) const {
  absl::MutexLock lock(&mu_);
  const auto held = [&]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return held_ >= count; };
  mu_.Await(absl::Condition(&held));
}

uint64_t Gate::passed() const {
  absl::MutexLock lock(&mu_);
  return passed_;
}

absl::StatusOr<DirListing> HangingVolume::List(absl::string_view directory, size_t entries_max) {
  gate_->Pass();
  return inner_->List(directory, entries_max);
}

absl::StatusOr<PathFacts> HangingVolume::Stat(absl::string_view path) {
  gate_->Pass();
  return inner_->Stat(path);
}

absl::StatusOr<std::shared_ptr<File>> HangingVolume::Open(absl::string_view path) {
  gate_->Pass();
  ASSIGN_OR_RETURN(std::shared_ptr<File> file, inner_->Open(path));
  return std::make_shared<HangingFile>(std::move(file), gate_);
}

}  // namespace weightd::testing
