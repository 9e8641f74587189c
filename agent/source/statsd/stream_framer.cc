#include "source/statsd/stream_framer.h"

#include <algorithm>
#include <cstring>

#include "source/statsd/parser.h"

namespace runnel::statsd {
namespace {

constexpr size_t kLengthBytes = 4;
constexpr auto kNone = std::string_view::npos;

uint32_t read_length(std::string_view bytes) {
  auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(bytes[i])); };
  return byte(0) | byte(1) << 8 | byte(2) << 16 | byte(3) << 24;
}

// string_view::rfind goes byte by byte; a chunk without a newline is 64 KiB long.
size_t last_newline(std::string_view bytes) {
  const void* at = bytes.empty() ? nullptr : ::memrchr(bytes.data(), '\n', bytes.size());
  return at == nullptr ? kNone : static_cast<size_t>(static_cast<const char*>(at) - bytes.data());
}

}  // namespace

bool StreamFramer::feed(std::string_view bytes, const Out& out) {
  if (framing_ == Framing::frames) return feed_frames(bytes, out);
  feed_lines(bytes, out);
  return true;
}

void StreamFramer::finish(const Out& out) {
  std::string_view tail = held_;
  if (framing_ == Framing::frames && tail.size() >= kLengthBytes) tail.remove_prefix(kLengthBytes);
  if (!held_.empty()) out.refuse(bad::kUnterminated, tail.substr(0, kMaxShown));
  release();
  skipping_ = false;
}

void StreamFramer::feed_lines(std::string_view bytes, const Out& out) {
  if (skipping_ || !held_.empty()) {
    size_t newline = bytes.find('\n');
    std::string_view first = bytes.substr(0, newline);
    if (!skipping_) hold_line(first, out);
    if (newline == kNone) return;
    if (!skipping_) {
      held_ += '\n';
      out.take(held_);
    }
    release();
    skipping_ = false;
    bytes.remove_prefix(newline + 1);
  }
  size_t last = last_newline(bytes);
  if (last != kNone) {
    take_lines(bytes.substr(0, last + 1), out);
    bytes.remove_prefix(last + 1);
  }
  if (!bytes.empty()) hold_line(bytes, out);
}

// Whole lines. Only where they are more than a line may be together is there one to look for.
void StreamFramer::take_lines(std::string_view lines, const Out& out) {
  while (lines.size() > kMaxLine + 1) {
    size_t begin = 0;  // of the first line that is too long
    size_t end = lines.find('\n');
    while (end != kNone && end - begin <= kMaxLine) {
      begin = end + 1;
      end = lines.find('\n', begin);
    }
    if (begin > 0) out.take(lines.substr(0, begin));
    if (end == kNone) return;
    out.refuse(bad::kTooLong, lines.substr(begin, kMaxShown));
    lines.remove_prefix(end + 1);
  }
  if (!lines.empty()) out.take(lines);
}

// More of a line that has not ended within this feed.
void StreamFramer::hold_line(std::string_view tail, const Out& out) {
  if (held_.size() + tail.size() <= kMaxLine) {
    held_ += tail;
    return;
  }
  if (held_.size() < kMaxShown) held_ += tail.substr(0, kMaxShown - held_.size());
  out.refuse(bad::kTooLong, std::string_view(held_).substr(0, kMaxShown));
  release();
  skipping_ = true;
}

bool StreamFramer::feed_frames(std::string_view bytes, const Out& out) {
  while (!skipping_ && !bytes.empty()) {
    // The length may have come in pieces.
    if (!held_.empty() && held_.size() < kLengthBytes) {
      std::string_view more = bytes.substr(0, kLengthBytes - held_.size());
      held_ += more;
      bytes.remove_prefix(more.size());
    }
    std::string_view begin = held_.empty() ? bytes : held_;
    if (begin.size() < kLengthBytes) {
      held_ += bytes;
      break;
    }
    size_t length = read_length(begin);
    if (length > kMaxFrame) {
      out.refuse(bad::kFrame, begin.substr(0, kLengthBytes));
      release();
      skipping_ = true;
      break;
    }
    size_t missing = kLengthBytes + length - held_.size();
    if (missing > bytes.size()) {
      held_ += bytes;
      break;
    }
    std::string_view frame = bytes.substr(0, missing);
    if (!held_.empty()) frame = held_ += frame;
    if (length > 0) out.take(frame.substr(kLengthBytes));
    release();
    bytes.remove_prefix(missing);
  }
  return !skipping_;
}

void StreamFramer::release() {
  if (held_.capacity() > kKeep)
    std::string().swap(held_);
  else
    held_.clear();
}

}  // namespace runnel::statsd
