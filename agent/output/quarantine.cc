#include "output/quarantine.h"

#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <array>

#include "base/fd.h"
#include "base/text.h"
#include "journal/batch_codec.h"
#include "output/encode/encoder.h"
#include "output/encode/writer.h"
#include "output/payload.h"

namespace runnel {
namespace {

constexpr std::string_view kSuffix = ".ndjson";
constexpr size_t kAnswer = 500;
constexpr size_t kMaxFile = 256 << 20;

// RFC 4648, section 4.
constexpr std::string_view kBase64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void append_base64(std::string& out, std::string_view bytes) {
  for (size_t i = 0; i < bytes.size(); i += 3) {
    size_t n = std::min<size_t>(3, bytes.size() - i);
    uint32_t word = 0;
    for (size_t k = 0; k < 3; k++) word = word << 8 | (k < n ? static_cast<uint8_t>(bytes[i + k]) : 0);
    for (size_t k = 0; k < 4; k++) out.push_back(k <= n ? kBase64[word >> (18 - 6 * k) & 63] : '=');
  }
}

std::optional<std::string> from_base64(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  std::string out;
  for (size_t i = 0; i < text.size(); i += 4) {
    uint32_t word = 0;
    size_t pad = 0;
    for (size_t k = 0; k < 4; k++) {
      char c = text[i + k];
      size_t value = kBase64.find(c);
      bool padding = c == '=' && i + 4 == text.size() && k >= 2;
      if (value == std::string_view::npos && !padding) return std::nullopt;
      if (!padding && pad > 0) return std::nullopt;
      pad += padding ? 1 : 0;
      word = word << 6 | (padding ? 0 : static_cast<uint32_t>(value));
    }
    for (size_t k = 0; k < 3 - pad; k++) out.push_back(static_cast<char>(word >> (16 - 8 * k)));
  }
  return out;
}

std::string json_of(Encoder& encoder, const Batch& batch) {
  std::string text;
  bool said = batch.samples.empty() ? encoder.event(batch, batch.events[0], text)
                                    : encoder.sample(batch, batch.samples[0], text);
  if (!said) return "null";  // json cannot say it: the frozen form has it
  while (text.ends_with('\n')) text.pop_back();
  return text;
}

Error failed(const std::string& path, int error) {
  return Error{fmt::format("{}: {}", path, errno_text(-error))};
}

}  // namespace

Status Quarantine::put(const std::string& output, const Selection& records, const std::string& reason,
                       const std::string& answer) {
  std::string text, frozen;
  auto encoder = find_encoder("json")->make("");
  auto quoted = [](std::string_view value) {
    Writer writer;
    writer.json_text(value);
    return std::string(writer.view());
  };
  uint64_t first = UINT64_MAX, last = 0;
  for (const Portion& portion : records.portions) {
    for (RecordRange range : portion.entry.ranges) {
      first = std::min(first, portion.entry.first + range.first);
      last = std::max(last, portion.entry.first + range.last - 1);
      for (uint32_t i = range.first; i < range.last; i++) {
        Batch one(portion.entry.batch->source());
        one.copy_record(*portion.entry.batch, i);
        frozen.clear();
        encode_batch(one, frozen);
        fmt::format_to(std::back_inserter(text),
                       R"({{"output":"{}","time":{},"reason":"{}","answer":"{}","record":{},"frozen":")",
                       output, clock_.wall_ms(), reason, quoted(std::string_view(answer).substr(0, kAnswer)),
                       json_of(*encoder, one));
        append_base64(text, frozen);
        text += "\"}\n";
      }
    }
  }
  if (int error = fs_.make_folder(folder_); error != 0) return failed(folder_, error);
  std::vector<std::string> names;
  if (int error = fs_.list(folder_, names); error != 0) return failed(folder_, error);
  int64_t held = 0;
  for (const std::string& name : names) {
    int fd = fs_.open(folder_ + "/" + name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
    if (fd < 0) continue;
    held += std::max<int64_t>(0, fs_.regular_file_size(fd));
    fs_.close(fd);
  }
  if (held + static_cast<int64_t>(text.size()) > max_bytes_)
    return Error{
        fmt::format("full: {} of {} (`runnel quarantine list`)", format_size(held), format_size(max_bytes_))};
  std::string name = fmt::format("{}.{:x}-{}-{}", output, records.portions.front().entry.epoch, first, last);
  std::string path = folder_ + "/" + name + std::string(kSuffix), fresh = path + ".new";
  int fd = fs_.open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0640);
  if (fd < 0) return failed(fresh, fd);
  File file(fs_, fd);
  int error = write_whole(fs_, fd, text);
  if (error == 0) error = fs_.fdatasync(fd);
  if (error == 0) error = fs_.rename(fresh, path);
  if (error == 0) error = fs_.sync_folder(folder_);
  if (error == 0) return {};
  (void)fs_.unlink(fresh);
  return failed(path, error);
}

Result<std::vector<QuarantineFile>> list_quarantine(const std::string& folder) {
  RealFileSystem fs;
  std::vector<std::string> names;
  int error = fs.list(folder, names);
  if (error == -ENOENT) return std::vector<QuarantineFile>();
  if (error != 0) return failed(folder, error);
  std::sort(names.begin(), names.end());
  std::vector<QuarantineFile> files;
  simdjson::dom::parser parser;
  for (const std::string& name : names) {
    size_t dot = name.find('.');
    if (!name.ends_with(kSuffix) || dot + kSuffix.size() >= name.size()) continue;
    auto text = read_file(folder + "/" + name, kMaxFile);
    if (!text.ok()) return Error{text.error()};
    QuarantineFile file;
    file.name = name.substr(0, name.size() - kSuffix.size());
    file.output = name.substr(0, dot);
    file.bytes = static_cast<int64_t>(text->size());
    file.records = static_cast<size_t>(std::count(text->begin(), text->end(), '\n'));
    simdjson::dom::element line;
    if (parser.parse(text->substr(0, text->find('\n'))).get(line) == simdjson::SUCCESS) {
      std::string_view reason, answer;
      if (line["reason"].get(reason) == simdjson::SUCCESS) file.reason = reason;
      if (line["answer"].get(answer) == simdjson::SUCCESS) file.answer = answer;
      if (line["time"].get(file.time_ms) != simdjson::SUCCESS) file.time_ms = 0;
    }
    files.push_back(std::move(file));
  }
  return files;
}

Result<Batch> read_quarantine(const std::string& path) {
  auto text = read_file(path, kMaxFile);
  if (!text.ok()) return Error{text.error()};
  Batch all("quarantine");
  simdjson::dom::parser parser;
  size_t number = 0;
  for (std::string_view raw : split(*text, '\n')) {
    number++;
    if (raw.empty()) continue;
    simdjson::dom::element line;
    std::string_view frozen;
    if (parser.parse(std::string(raw)).get(line) != simdjson::SUCCESS ||
        line["frozen"].get(frozen) != simdjson::SUCCESS)
      return Error{fmt::format("{}:{}: not a line of a quarantine", path, number)};
    auto bytes = from_base64(frozen);
    auto one = bytes ? decode_batch(*bytes) : Result<Batch>(Error{"not base64"});
    if (!one.ok()) return Error{fmt::format("{}:{}: {}", path, number, one.error())};
    for (size_t i = 0; i < one->records(); i++) all.copy_record(*one, i);
  }
  return all;
}

}  // namespace runnel
