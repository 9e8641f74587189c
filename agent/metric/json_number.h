// A number of simdjson's as one of ours, for the sources that read JSON (they link simdjson; the room itself does not). Pure,
// any thread.
#pragma once

#include <simdjson.h>

#include <optional>

#include "metric/batch.h"

namespace runnel {

// Nothing: it is no number.
inline std::optional<Number> json_number(simdjson::dom::element value) {
  switch (value.type()) {
    case simdjson::dom::element_type::INT64:
      return Number::integer(int64_t(value.get_int64().value_unsafe()));
    case simdjson::dom::element_type::UINT64:  // above INT64_MAX: the parser says INT64 for all that fit
      return Number(static_cast<double>(value.get_uint64().value_unsafe()));
    case simdjson::dom::element_type::DOUBLE:
      return Number(value.get_double().value_unsafe());
    default:
      return std::nullopt;
  }
}

}  // namespace runnel
