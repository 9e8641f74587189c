// What a load has found so far. Everything is collected, so that one run of `check` shows all there is to
// mend. Main thread, for the length of one load.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "config/load.h"

namespace runnel {

class Problems {
 public:
  void error(const Position& at, std::string text) { errors_.push_back({at, std::move(text), false}); }
  void warning(const Position& at, std::string text) { warnings_.push_back({at, std::move(text), true}); }
  // An error or a warning: `unknown_keys` is itself a key and is known only at the end.
  void unknown(const Position& at, std::string text) { unknown_.push_back({at, std::move(text), false}); }

  std::vector<Problem>& errors() { return errors_; }
  size_t error_count() const { return errors_.size(); }

  // A file that is included could not be read: what is absent may stand there, and is not held against anyone.
  void set_incomplete() { incomplete_ = true; }
  bool incomplete() const { return incomplete_; }

  // Files are ordered as they were read, not by name: the main file comes first.
  void add_file(const std::string& path) { file_order_.emplace(path, file_order_.size()); }
  // Decides about the unknown keys and brings both lists into file and line order.
  void finish(bool unknown_is_error);
  std::vector<Problem> take_errors() { return std::move(errors_); }
  std::vector<Problem> take_warnings() { return std::move(warnings_); }

 private:
  void sort(std::vector<Problem>& problems) const;

  std::vector<Problem> errors_, warnings_, unknown_;
  std::map<std::string, size_t> file_order_;
  bool incomplete_ = false;
};

}  // namespace runnel
