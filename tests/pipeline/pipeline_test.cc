#include "pipeline/pipeline.h"

#include <fmt/format.h>

#include "support/catch.h"

using namespace runnel;

namespace {

std::string text_of(const Batch& batch, SeriesRef ref) {
  std::string text(batch.view(ref).name());
  for (Tag tag : batch.view(ref)) text += fmt::format(",{}={}", tag.key, tag.value);
  return text;
}

struct Bench {
  ManualClock clock;
  Log log{clock, 1 << 20};
  LogReader& reader = log.add_reader("r", WhenFull::drop_oldest);
  Pipeline pipeline{log, clock};
  std::shared_ptr<const Batch> push(Batch batch, const StringMap* source_tags = nullptr) {
    pipeline.push(std::move(batch), source_tags);
    auto entry = reader.take(0);
    return entry ? entry->batch : nullptr;
  }
};

Batch one(std::initializer_list<Tag> tags, Origin origin = {}) {
  Batch batch("test");
  Sample sample;
  sample.series = batch.series("k", tags);
  sample.origin = batch.origin(std::move(origin));
  batch.add(sample);
  return batch;
}

}  // namespace

TEST_CASE("a configured tag named host is the host, where the sender has not said one") {
  struct {
    StringMap source, pinned;
    const char *sent, *host;
  } rows[] = {{{}, {}, "", "web-1"},
              {{{"host", "src"}}, {}, "", "src"},
              {{{"host", "src"}}, {}, "sender", "sender"},
              {{{"host", "src"}}, {{"host", "pin"}}, "sender", "pin"},
              {{}, {{"host", "pin"}}, "", "pin"}};
  for (const auto& row : rows) {
    Bench bench;
    AgentConfig agent;
    agent.host = "web-1";
    agent.pinned_tags = row.pinned;
    bench.pipeline.configure(agent);
    auto batch = bench.push(one({{"a", "b"}}, {row.sent, {}}), &row.source);
    REQUIRE(batch);
    CHECK(text_of(*batch, batch->samples[0].series) == "k,a=b");
    CHECK(batch->origins[batch->samples[0].origin].host == row.host);
  }
}

TEST_CASE("the sender's value wins, except over pinned tags") {
  Bench bench;
  AgentConfig agent;
  agent.host = "web-1";
  agent.tags = {{"site", "lon"}, {"az", "1"}, {"role", "agent"}};
  agent.pinned_tags = {{"tenant", "a"}};
  agent.resource = {{"build", "1.4.2"}, {"zone", "z"}};
  bench.pipeline.configure(agent);
  bench.pipeline.set_file_tags({{"role", "file"}, {"cloud", "x"}});
  StringMap source_tags{{"az", "source"}};
  auto batch = bench.push(one({{"site", "ams"}, {"tenant", "evil"}, {"zz", ""}}, {"", {{"zone", "mine"}}}),
                          &source_tags);
  REQUIRE(batch);
  CHECK(text_of(*batch, batch->samples[0].series) == "k,az=source,cloud=x,role=agent,site=ams,tenant=a,zz=");
  const Origin& origin = batch->origins[batch->samples[0].origin];
  CHECK(origin.host == "web-1");
  CHECK(origin.resource ==
        std::vector<std::pair<std::string, std::string>>{{"build", "1.4.2"}, {"zone", "mine"}});
  CHECK(batch->samples[0].time_ms == bench.clock.wall);
}

TEST_CASE("a host and a time that the sender has said are kept; events get tags as attributes") {
  Bench bench;
  AgentConfig agent;
  agent.host = "web-1";
  agent.tags = {{"site", "lon"}};
  bench.pipeline.configure(agent);
  Batch batch("test");
  Event event;
  event.series = batch.series("deploy", {{"by", "ci"}});
  event.origin = batch.origin({"other", {}});
  event.time_ms = 42;
  batch.add(event);
  auto frozen = bench.push(std::move(batch));
  REQUIRE(frozen);
  CHECK(text_of(*frozen, frozen->events[0].series) == "deploy,by=ci,site=lon");
  CHECK(frozen->origins[frozen->events[0].origin].host == "other");
  CHECK(frozen->events[0].time_ms == 42);
  CHECK(bench.push(Batch("empty")) == nullptr);
}

TEST_CASE("a tags file is read a line at a time, and a bad line costs only itself") {
  TagsFile file = parse_tags_file("# cloud\nrole: db\n\n  zone :  eu-1a:x \nempty:\n");
  CHECK(file.errors.empty());
  CHECK(file.tags == StringMap{{"role", "db"}, {"zone", "eu-1a:x"}, {"empty", ""}});
  for (const char* bad : {"nonsense", "a: b\n: c", "a: \x01", "a: \xff"})
    CHECK(parse_tags_file(bad).errors.size() == 1);
  file = parse_tags_file("a: b\nnonsense\nc: d");
  CHECK(file.errors == std::vector<std::string>{"line 2: \"nonsense\" is not `key: value`"});
  CHECK(file.tags == StringMap{{"a", "b"}, {"c", "d"}});
}
