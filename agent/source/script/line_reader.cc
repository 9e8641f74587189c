#include "source/script/line_reader.h"

#include <utility>

namespace runnel::script {

LineReader::LineReader(std::optional<Format> format, Intake& intake) : format_(format), intake_(intake) {
  if (format_) reader_ = make_reader(*format_);
}

size_t LineReader::line_limit() const {
  bool json =
      format_ ? *format_ == Format::json : !partial_.empty() && (partial_[0] == '{' || partial_[0] == '[');
  return json ? SIZE_MAX : kMaxLine;  // the cap on the whole output bounds it
}

void LineReader::feed(std::string_view bytes) {
  while (!bytes.empty()) {
    size_t end = bytes.find('\n');
    std::string_view piece = bytes.substr(0, end);
    bytes.remove_prefix(end == std::string_view::npos ? bytes.size() : end + 1);
    if (!discarding_) {
      partial_.append(piece);
      if (partial_.size() > line_limit()) {
        intake_.received();
        intake_.refused(partial_, {bad::kTooLong, "the line is longer than 64 KiB"});
        partial_.clear();
        discarding_ = true;
      }
    }
    if (end == std::string_view::npos) return;
    if (!std::exchange(discarding_, false)) line(partial_);
    partial_.clear();
  }
}

void LineReader::finish(bool whole) {
  if (!partial_.empty()) {
    if (whole) {
      line(partial_);
    } else {
      intake_.received();
      intake_.refused(partial_, {bad::kCut, "the hook was stopped in the middle of the line"});
    }
    partial_.clear();
  }
  if (!reader_) decide(true);
  if (reader_) reader_->finish(intake_);
}

void LineReader::line(std::string_view line) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  if (line.find_first_not_of(" \t") == std::string_view::npos) return;
  if (reader_) {
    hand_over(line);
    return;
  }
  waiting_.emplace_back(line);
  decide(waiting_.size() >= kDetectLines);
}

void LineReader::decide(bool last) {
  // Only the newest line can change the answer from "not yet" to a certain one; at the end all of them count.
  auto found = last ? detect(waiting_, true) : detect({waiting_.back()}, false);
  if (!found) return;
  format_ = found;
  reader_ = make_reader(*found);
  for (const std::string& waiting : std::exchange(waiting_, {})) hand_over(waiting);
}

void LineReader::hand_over(std::string_view line) {
  if (line[0] == '#') {
    reader_->comment(line, intake_);
  } else {
    reader_->line(line, intake_);
  }
}

}  // namespace runnel::script
