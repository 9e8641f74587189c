#include "source/ffwd/protobuf.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <protozero/pbf_reader.hpp>

#include "base/utf8.h"

namespace runnel::ffwd {
namespace {

using protozero::pbf_reader;
using Wire = protozero::pbf_wire_type;

constexpr size_t kHeader = 8;

struct Malformed {
  std::string_view reason;
};

constexpr uint32_t field(uint32_t number, Wire wire) {
  return protozero::tag_and_type(number, wire);
}

uint32_t u32be(std::string_view bytes) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; i++) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

// protozero asserts wire types in debug builds and trusts them in others, so every known field is asked for together
// with its type: a known number that comes here has another one.
void skip_unknown(pbf_reader& reader, uint32_t last_known) {
  if (reader.tag() <= last_known) throw Malformed{bad::kWireType};
  reader.skip();
}

class PointDecoder {
 public:
  explicit PointDecoder(Points& out)
      : out_(out), points_(out.points.size()), tags_(out.tags.size()), pairs_(out.pairs.size()) {
    point_.tags = static_cast<uint32_t>(tags_);
    point_.attributes = static_cast<uint32_t>(pairs_);
  }

  void metric_v0(pbf_reader reader) {
    while (reader.next()) {
      switch (reader.tag_and_type()) {
        case field(1, Wire::length_delimited):
          point_.proc = text(reader);
          break;
        case field(2, Wire::varint):
          time(reader.get_int64());
          break;
        case field(3, Wire::length_delimited):
          point_.key = text(reader);
          break;
        case field(4, Wire::fixed64):
          point_.value = reader.get_double();
          break;
        case field(5, Wire::length_delimited):
          point_.host = text(reader);
          break;
        case field(6, Wire::length_delimited):
          tag(text(reader));
          break;
        case field(7, Wire::length_delimited):
          attribute(reader.get_message());
          break;
        default:
          skip_unknown(reader, 7);
      }
    }
    end();
  }

  void metric_v1(pbf_reader reader) {
    while (reader.next()) {
      switch (reader.tag_and_type()) {
        case field(1, Wire::length_delimited):
          point_.proc = text(reader);
          break;
        case field(2, Wire::varint):
          time(reader.get_int64());
          break;
        case field(3, Wire::length_delimited):
          point_.key = text(reader);
          break;
        case field(4, Wire::length_delimited):
          point_.host = text(reader);
          break;
        case field(5, Wire::length_delimited):
          tag(text(reader));
          break;
        case field(6, Wire::length_delimited):
          attribute(reader.get_message());
          break;
        case field(7, Wire::length_delimited):
          value(reader.get_message());
          break;
        default:
          skip_unknown(reader, 7);
      }
    }
    end();
  }

  void event(pbf_reader reader) {
    point_.is_event = true;
    while (reader.next()) {
      switch (reader.tag_and_type()) {
        case field(1, Wire::varint):
          time(reader.get_int64());
          break;
        case field(2, Wire::length_delimited):
          point_.key = text(reader);
          break;
        case field(3, Wire::fixed64):
          point_.value = reader.get_double();
          break;
        case field(4, Wire::length_delimited):
          point_.host = text(reader);
          break;
        case field(5, Wire::length_delimited):
          point_.state = text(reader);
          break;
        case field(6, Wire::length_delimited):
          point_.description = text(reader);
          break;
        case field(7, Wire::varint):
          ttl(reader.get_int64());
          break;
        case field(8, Wire::length_delimited):
          tag(text(reader));
          break;
        case field(9, Wire::length_delimited):
          attribute(reader.get_message());
          break;
        default:
          skip_unknown(reader, 9);
      }
    }
    end();
  }

  // What a malformed point had added goes.
  void undo() {
    out_.points.resize(points_);
    out_.tags.resize(tags_);
    out_.pairs.resize(pairs_);
  }

 private:
  std::string_view text(pbf_reader& reader) {
    protozero::data_view view = reader.get_view();
    std::string_view text{view.data(), view.size()};
    if (!is_utf8(text)) refuse(bad::kUtf8);
    if (text.size() > Batch::kMaxText) refuse(bad::kTooLong);
    return text;
  }

  void tag(std::string_view tag) {
    if (tag.empty()) return;
    if (out_.tags.size() - tags_ <= kMaxTags)
      out_.tags.push_back(tag);  // one too many is enough to refuse it
  }

  // Of a map's entry a key or value that is absent is the empty one (protobuf's encoding of maps).
  void attribute(pbf_reader reader) {
    Tag pair;
    while (reader.next()) {
      switch (reader.tag_and_type()) {
        case field(1, Wire::length_delimited):
          pair.key = text(reader);
          break;
        case field(2, Wire::length_delimited):
          pair.value = text(reader);
          break;
        default:
          skip_unknown(reader, 2);
      }
    }
    if (pair.key.empty()) refuse(bad::kTags);
    if (out_.pairs.size() - pairs_ <= kMaxTags) out_.pairs.push_back(pair);
  }

  // A oneof: the last one on the wire is the one that is set.
  void value(pbf_reader reader) {
    while (reader.next()) {
      switch (reader.tag_and_type()) {
        case field(1, Wire::fixed64):
          point_.value = reader.get_double();
          point_.opaque = {};
          break;
        case field(2, Wire::length_delimited): {
          protozero::data_view view = reader.get_view();
          point_.opaque = {view.data(), view.size()};
          point_.value.reset();
          break;
        }
        default:
          skip_unknown(reader, 2);
      }
    }
  }

  void time(int64_t number) {
    auto ms = time_from(number);
    if (!ms) refuse(bad::kTime);
    point_.time_ms = ms.value_or(0);
  }

  void ttl(int64_t seconds) {
    if (seconds < -1) refuse(bad::kTtl);
    point_.ttl_s = static_cast<float>(std::clamp(static_cast<double>(seconds), 0.0, kMaxTtl));  // -1: none
  }

  void refuse(std::string_view reason) {
    if (refusal_.empty()) refusal_ = reason;
  }

  void end() {
    size_t attributes = out_.pairs.size() - pairs_;
    point_.tag_count = static_cast<uint32_t>(out_.tags.size() - tags_);
    if (point_.key.empty()) refuse(bad::kNoKey);
    if (point_.key.size() > kMaxKey || point_.opaque.size() > kMaxOpaque) refuse(bad::kTooLong);
    if (point_.tag_count + attributes > kMaxTags) refuse(bad::kTooManyTags);
    bool finite = !point_.value || std::isfinite(point_.value->as_double());
    if (point_.is_event) {
      if (!finite) point_.value.reset();  // FFWD: null
    } else if (!finite) {
      refuse(bad::kNotFinite);
    } else if (!point_.value && point_.opaque.empty()) {
      refuse(bad::kNoValue);
    }
    if (!refusal_.empty()) {
      undo();
      out_.refused.push_back(refusal_);
      return;
    }
    sort_pairs(out_.pairs, pairs_);
    point_.attribute_count = static_cast<uint32_t>(out_.pairs.size() - pairs_);
    out_.points.push_back(point_);
  }

  Points& out_;
  const size_t points_, tags_, pairs_;  // what there was before
  Point point_;
  std::string_view refusal_;
};

void decode_message(std::string_view bytes, uint32_t version, Points& out) {
  pbf_reader reader(bytes.data(), bytes.size());
  bool any = false;
  auto one = [&](auto&& decode) {
    any = true;
    PointDecoder decoder(out);
    try {
      decode(decoder);
    } catch (...) {
      decoder.undo();
      throw;
    }
  };
  while (reader.next()) {
    switch (reader.tag_and_type()) {
      case field(1, Wire::length_delimited): {
        pbf_reader metric = reader.get_message();
        one([&](PointDecoder& d) { version == 0 ? d.metric_v0(metric) : d.metric_v1(metric); });
        break;
      }
      case field(2, Wire::length_delimited): {
        pbf_reader event = reader.get_message();
        if (version == 0) one([&](PointDecoder& d) { d.event(event); });
        break;
      }
      default:
        skip_unknown(reader, version == 0 ? 2 : 1);
    }
  }
  if (!any) throw Malformed{bad::kType};
}

}  // namespace

void decode_protobuf(std::string_view datagram, Points& out) {
  out.clear();
  do {
    if (datagram.size() < kHeader) {
      out.refused.push_back(bad::kLength);
      return;
    }
    uint32_t version = u32be(datagram), length = u32be(datagram.substr(4));
    if (version > 1) {
      out.refused.push_back(bad::kVersion);
      return;
    }
    if (length < kHeader || length > datagram.size()) {
      out.refused.push_back(bad::kLength);
      return;
    }
    try {
      decode_message(datagram.substr(kHeader, length - kHeader), version, out);
    } catch (const Malformed& malformed) {
      out.refused.push_back(malformed.reason);
    } catch (const protozero::exception&) {
      out.refused.push_back(bad::kMessage);
    }
    datagram.remove_prefix(length);
  } while (!datagram.empty());
}

}  // namespace runnel::ffwd
