#ifndef WEIGHTD_TESTS_UNIT_CATALOG_CATALOG_FIXTURE_H_
#define WEIGHTD_TESTS_UNIT_CATALOG_CATALOG_FIXTURE_H_

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "daemon/catalog/catalog.h"
#include "tests/support/checkpoints/checkpoint_writer.h"
#include "tests/support/common/status_matchers.h"
#include "tests/support/common/temp_dir.h"

namespace weightd::testing {

// Two real roots and a catalog of them, the first one's before the second one's.
class CatalogFixture : public ::testing::Test {
 protected:
  static std::vector<TensorSpec> Specs(const std::string& prefix = "") {
    return {{prefix + "a", Dtype::kF32, {2, 3}},
            {prefix + "b", Dtype::kBf16, {4}},
            {prefix + "c", Dtype::kU8, {5}}};
  }

  static Catalog Make(const std::vector<std::string>& roots, CatalogOptions options = {}) {
    std::vector<std::shared_ptr<Volume>> volumes;
    for (const std::string& root : roots) {
      auto volume = OpenVolume(root);
      EXPECT_OK(volume);
      if (volume.ok()) volumes.push_back(*std::move(volume));
    }
    return Catalog(std::move(volumes), options);
  }
  Catalog MakeCatalog(CatalogOptions options = {}) const {
    return Make({first_.path(), second_.path()}, options);
  }

  // Names of all models, or of the error.
  static std::vector<std::string> Models(const Catalog& catalog) {
    const auto list = catalog.List();
    if (!list.ok()) return {list.status().ToString()};
    std::vector<std::string> models;
    for (const Checkpoint& checkpoint : *list) models.push_back(checkpoint.model);
    return models;
  }

  void WriteOne(const std::string& path, const WriteOptions& options = {}) const {
    ASSERT_OK(WriteSafetensors(first_.File(path), Specs(), options));
  }

  TempDir first_;
  TempDir second_;
};

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_UNIT_CATALOG_CATALOG_FIXTURE_H_
