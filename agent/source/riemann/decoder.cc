#include "source/riemann/decoder.h"

#include <cmath>
#include <optional>
#include <protozero/pbf_reader.hpp>

#include "base/utf8.h"

namespace runnel::riemann {
namespace {

using protozero::pbf_reader;
using Wire = protozero::pbf_wire_type;

constexpr int64_t kMaxSeconds = 253'402'300'799;  // the end of the year 9999

struct Malformed {
  std::string_view reason;
};

constexpr uint32_t field(uint32_t number, Wire wire) {
  return protozero::tag_and_type(number, wire);
}

// protozero asserts wire types in debug builds and trusts them in others, so every known field is asked for together
// with its type: a known number that comes here has another one.
void skip_unknown(pbf_reader& reader, uint32_t last_known, uint32_t unused) {
  uint32_t number = reader.tag();
  if (number <= last_known && (unused >> number & 1) == 0) throw Malformed{undecodable::kType};
  reader.skip();
}

std::string_view text_of(pbf_reader& reader) {
  protozero::data_view view = reader.get_view();
  return {view.data(), view.size()};
}

class EventDecoder {
 public:
  explicit EventDecoder(Message& out) : out_(out) {}

  void event(pbf_reader reader) {
    begin();
    std::optional<int64_t> micros, sint;
    std::optional<double> metric;
    std::optional<float> metric_f;
    while (reader.next()) {
      switch (reader.tag_and_type()) {
        case field(10, Wire::varint):
          micros = reader.get_int64();
          break;
        case field(13, Wire::varint):
          sint = reader.get_sint64();
          break;
        case field(14, Wire::fixed64):
          metric = reader.get_double();
          break;
        case field(15, Wire::fixed32):
          metric_f = reader.get_float();
          break;
        case field(9, Wire::length_delimited):
          attribute(reader.get_message());
          break;
        default:
          // 6, 11 and 12 are no fields of an event (once was; Riemann skips it).
          if (!common(reader)) skip_unknown(reader, 15, 1U << 6 | 1U << 11 | 1U << 12);
      }
    }
    event_.has_metric = sint || metric || metric_f;
    if (sint) {
      event_.metric = Number::integer(*sint);
    } else if (event_.has_metric) {
      double value = metric ? *metric : static_cast<double>(*metric_f);
      if (!std::isfinite(value)) refuse(Refusal::bad_metric);
      event_.metric = value;
    }
    if (micros) {
      // Towards the past, as integer division of negative numbers would not.
      event_.time_ms = *micros / 1000 - (*micros % 1000 < 0 ? 1 : 0);
      if (*micros / 1'000'000 > kMaxSeconds || *micros / 1'000'000 < -kMaxSeconds) refuse(Refusal::bad_time);
    } else {
      take_seconds();
    }
    end();
  }

  void state(pbf_reader reader) {
    begin();
    while (reader.next()) {
      if (reader.tag_and_type() == field(6, Wire::varint)) {
        reader.skip();  // once: for Riemann's index alone
      } else if (!common(reader)) {
        skip_unknown(reader, 8, 0);
      }
    }
    take_seconds();
    end();
  }

 private:
  // The fields that events and states have alike.
  bool common(pbf_reader& reader) {
    switch (reader.tag_and_type()) {
      case field(1, Wire::varint):
        seconds_ = reader.get_int64();
        return true;
      case field(2, Wire::length_delimited):
        event_.state = text(reader);
        return true;
      case field(3, Wire::length_delimited):
        event_.service = text(reader);
        return true;
      case field(4, Wire::length_delimited):
        event_.host = text(reader);
        return true;
      case field(5, Wire::length_delimited):
        event_.description = text(reader);
        return true;
      case field(7, Wire::length_delimited):
        if (std::string_view tag = text(reader); !tag.empty() && out_.tags.size() - event_.tags <= kMaxTags)
          out_.tags.push_back(tag);  // one too many is enough to refuse it
        return true;
      case field(8, Wire::fixed32):
        event_.ttl_s = reader.get_float();
        if (!std::isfinite(event_.ttl_s) || event_.ttl_s < 0) refuse(Refusal::bad_ttl);
        return true;
      default:
        return false;
    }
  }

  void attribute(pbf_reader reader) {
    Tag tag;
    bool has_key = false;
    while (reader.next()) {
      switch (reader.tag_and_type()) {
        case field(1, Wire::length_delimited):
          tag.key = text(reader);
          has_key = true;
          break;
        case field(2, Wire::length_delimited):
          tag.value = text(reader);
          break;
        default:
          skip_unknown(reader, 2, 0);
      }
    }
    if (!has_key) throw Malformed{undecodable::kKey};
    if (tag.key.empty()) refuse(Refusal::empty_key);
    if (out_.attributes.size() - event_.attributes <= kMaxTags) out_.attributes.push_back(tag);
  }

  std::string_view text(pbf_reader& reader) {
    std::string_view text = text_of(reader);
    if (!is_utf8(text)) refuse(Refusal::bad_utf8);
    if (text.size() > Batch::kMaxText) refuse(Refusal::too_long);
    return text;
  }

  void refuse(Refusal refusal) {
    if (!refusal_) refusal_ = refusal;
  }

  void take_seconds() {
    if (seconds_ > kMaxSeconds || seconds_ < -kMaxSeconds) {
      refuse(Refusal::bad_time);
    } else {
      event_.time_ms = seconds_ * 1000;
    }
  }

  void begin() {
    if (out_.received >= kMaxEvents) throw Malformed{undecodable::kMany};
    out_.received++;
    event_ = EventView{};
    event_.tags = static_cast<uint32_t>(out_.tags.size());
    event_.attributes = static_cast<uint32_t>(out_.attributes.size());
    seconds_ = 0;
    refusal_.reset();
  }

  void end() {
    event_.tag_count = static_cast<uint32_t>(out_.tags.size()) - event_.tags;
    event_.attribute_count = static_cast<uint32_t>(out_.attributes.size()) - event_.attributes;
    if (event_.service.empty()) refuse(Refusal::no_service);
    if (event_.service.size() > kMaxService) refuse(Refusal::too_long);
    if (event_.tag_count + event_.attribute_count > kMaxTags) refuse(Refusal::too_many_tags);
    if (!refusal_) {
      out_.events.push_back(event_);
      return;
    }
    out_.refused[static_cast<size_t>(*refusal_)]++;
    out_.tags.resize(event_.tags);
    out_.attributes.resize(event_.attributes);
  }

  Message& out_;
  EventView event_;
  int64_t seconds_ = 0;
  std::optional<Refusal> refusal_;
};

void decode_message(std::string_view bytes, Message& out) {
  EventDecoder decoder(out);
  pbf_reader reader(bytes.data(), bytes.size());
  while (reader.next()) {
    switch (reader.tag_and_type()) {
      case field(6, Wire::length_delimited):
        decoder.event(reader.get_message());
        break;
      case field(4, Wire::length_delimited):
        decoder.state(reader.get_message());
        break;
      case field(5, Wire::length_delimited):
        reader.skip();
        out.has_query = true;
        break;
      case field(2, Wire::varint):            // ok and error are answers:
      case field(3, Wire::length_delimited):  // nothing that a server is told
        reader.skip();
        break;
      default:
        skip_unknown(reader, 6, 1U << 1);
    }
  }
}

}  // namespace

std::string_view decode(std::string_view bytes, Message& out) {
  out.clear();
  try {
    decode_message(bytes, out);
  } catch (const Malformed& malformed) {
    return malformed.reason;
  } catch (const protozero::exception&) {
    return undecodable::kMessage;
  }
  return {};
}

}  // namespace runnel::riemann
