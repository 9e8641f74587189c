// What an answer, or its absence, means for the payload. Pure functions; the table is in README.md.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "runnel_sink.h"

namespace runnel_http {

// `body` is the beginning of the answer's body; `retry_on` the statuses the configuration adds.
runnel_outcome outcome_of_status(long status, std::string_view body, const std::vector<long>& retry_on);

// `code` is the CURLcode, `text` libcurl's words for it.
runnel_outcome outcome_of_failure(int code, std::string_view text);

// The first line of a body that says something; of an HTML page its title.
std::string_view first_line(std::string_view body);

}  // namespace runnel_http
