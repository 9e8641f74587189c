// What the tests of config/ share: a catalog with made-up sinks, files in a temporary folder, and errors as
// text.
#pragma once

#include <string>
#include <vector>

#include "config/load.h"

namespace runnel::test {

// Sinks: `fake` has an option of every type, `plain` none, `records` takes records, `squeeze` compresses by
// itself, `broken` has a descriptor that is wrong in every way the loader looks at.
Catalog make_catalog();

// "a.toml:1:2: error: …" for each error; the temporary folder's name is taken out of them.
std::vector<std::string> lines(const std::vector<Problem>& problems);

class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::string& path() const { return path_; }
  // Writes a file below it, with the folders it needs, and returns its path.
  std::string write(const std::string& name, const std::string& text, unsigned mode = 0600) const;
  // Messages with this folder's path taken out.
  std::vector<std::string> lines(const std::vector<Problem>& problems) const;

 private:
  std::string path_;
};

// All that two configurations can differ in, as one text for comparing.
bool same_settings(const Config& a, const Config& b);

}  // namespace runnel::test
