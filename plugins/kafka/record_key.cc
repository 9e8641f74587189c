#include "record_key.h"

#include "sink_support.h"

namespace runnel_kafka {

using runnel_plugin::view;

bool RecordKey::parse(std::string_view text) {
  if (text == "series") {
    mode_ = Mode::kSeries;
  } else if (text == "host") {
    mode_ = Mode::kHost;
  } else if (text == "none") {
    mode_ = Mode::kNone;
  } else if (text.starts_with("tag:") && text.size() > 4) {
    mode_ = Mode::kTag;
    tag_ = text.substr(4);
  } else {
    return false;
  }
  return true;
}

std::string_view RecordKey::of(const runnel_record& record) const {
  switch (mode_) {
    case Mode::kSeries:
      break;
    case Mode::kHost:
      return view(record.host);
    case Mode::kTag:
      for (size_t i = 0; i < record.tag_count; ++i)
        if (view(record.tags[i].key) == tag_) return view(record.tags[i].value);
      return {};
    case Mode::kNone:
      return {};
  }
  const bool merges = record.kind == RUNNEL_KIND_COUNTER || record.kind == RUNNEL_KIND_DISTRIBUTION ||
                      record.kind == RUNNEL_KIND_SET;
  return view(merges ? record.series : record.series_on_host);
}

}  // namespace runnel_kafka
