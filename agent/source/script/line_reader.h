// The stdout of one run: bytes in as they come, lines out to the reader of the format that the hook pinned or that its
// first lines show. Loop thread; owned by the run. Holds at most one line and, while the format is not known, the
// first kDetectLines.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "source/script/formats/format.h"

namespace runnel::script {

class LineReader {
 public:
  static constexpr size_t kMaxLine = 65'536;  // but for JSON, where one line may be the whole output
  static constexpr size_t kDetectLines = 20;

  LineReader(std::optional<Format> format, Intake& intake);
  void feed(std::string_view bytes);
  // `whole` false: the hook was killed, so an unterminated last line is not to be trusted.
  void finish(bool whole);
  std::optional<Format> format() const { return format_; }

 private:
  void line(std::string_view line);
  void hand_over(std::string_view line);
  void decide(bool last);
  size_t line_limit() const;

  std::optional<Format> format_;
  Intake& intake_;
  std::unique_ptr<Reader> reader_;
  std::string partial_;
  bool discarding_ = false;  // inside a line that is too long
  std::vector<std::string> waiting_;
};

}  // namespace runnel::script
