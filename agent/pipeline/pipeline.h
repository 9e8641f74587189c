// Between sources and the log: completes what senders left out, then appends. Loop thread.
//
//   host      the agent's, where the sender has not said one
//   tags      of the agent, its tags_file and the source: added where the sender has not set them (its value wins);
//             pinned_tags win over everything. On events they are attributes. One named `host` is the record's host.
//   resource  of the agent, the sender's value wins
//   time      now, where the sender has not said one
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "config/config.h"
#include "journal/log.h"
#include "metric/batch.h"

namespace runnel {

class Pipeline {
 public:
  Pipeline(Log& log, const Clock& clock) : log_(log), clock_(clock) {}

  void configure(const AgentConfig& agent);
  void set_file_tags(const StringMap& tags);  // of tags_file: agent.tags win over them

  // `source_tags` may be null; they win over the agent's tags and lose to the sender's. `decided` as Log::append's.
  void push(Batch batch, const StringMap* source_tags = nullptr, const Log::Decided& decided = {});

 private:
  struct Added {  // sorted by key; pinned ones replace what the sender said
    std::string key, value;
    bool pinned;
  };
  std::vector<Added> added_tags(const StringMap* source_tags) const;
  Batch with_tags(Batch batch, const std::vector<Added>& added) const;
  void complete_origins(Batch& batch, const std::string& host) const;

  Log& log_;
  const Clock& clock_;
  std::string host_;
  StringMap tags_, pinned_, resource_, file_tags_;
};

// tags_file: `key: value` a line; empty lines and those that begin with '#' are skipped.
struct TagsFile {
  StringMap tags;                   // of the good lines
  std::vector<std::string> errors;  // `line N: …`
};
TagsFile parse_tags_file(const std::string& text);

}  // namespace runnel
