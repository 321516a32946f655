#ifndef WEIGHTD_DAEMON_SERVICE_METADATA_PIECES_H_
#define WEIGHTD_DAEMON_SERVICE_METADATA_PIECES_H_

#include <cstddef>
#include <map>
#include <optional>
#include <string>

#include "weightd/v1/weight_cache.pb.h"

namespace weightd {

// The metadata of a checkpoint: whatever somebody wrote into a header of up to 100 MB.
using Metadata = std::map<std::string, std::string>;

// Whether all of it goes into `granted` itself.
bool FitsIntoGrant(const Metadata& metadata);

// Cuts metadata into messages below 1 MiB, each of which is made when it is asked for.
// Thread-compatible. The metadata must outlive it.
class MetadataPieces {
 public:
  explicit MetadataPieces(const Metadata& metadata) : metadata_(metadata), at_(metadata.begin()) {}

  // nullopt when everything was told.
  std::optional<v1::MetadataBatch> Next();

 private:
  const Metadata& metadata_;
  Metadata::const_iterator at_;
  // Told of the key and the value there.
  size_t key_bytes_ = 0;
  size_t value_bytes_ = 0;
};

// Of the metadata what a message holds, and how much of it was left out.
void FillMetadata(const Metadata& metadata, v1::GetModelResponse& response);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_METADATA_PIECES_H_
