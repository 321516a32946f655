#include <memory>

#include "daemon/storage/volume.h"

namespace weightd {
namespace {

// Of a file that is always open.
class AlwaysOpen final : public FileUse {
 public:
  absl::StatusOr<bool> Ready() override { return true; }
};

}  // namespace

std::unique_ptr<FileUse> File::Use() const { return std::make_unique<AlwaysOpen>(); }

}  // namespace weightd
