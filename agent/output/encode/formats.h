// The encodings of this build, one a file: json.cc, influx.cc, pretty.cc, ffwd.cc. Only the table in encoder.cc
// reads this.
#pragma once

#include <memory>

#include "output/encode/encoder.h"

namespace runnel {

std::unique_ptr<Encoder> make_json_encoder();
std::unique_ptr<Encoder> make_influx_encoder();
std::unique_ptr<Encoder> make_pretty_encoder();
std::unique_ptr<Encoder> make_ffwd_encoder(std::string_view schema);  // one of its schemas; "" is the newest

}  // namespace runnel
