#include "source/script/hook_file.h"

#include "source/script/schedule.h"
#include "support/catch.h"

using namespace runnel;
using namespace runnel::script;

TEST_CASE("what editors and package managers leave is ignored") {
  for (auto name : {".hidden", "..data", "hook~", "#hook#", "hook.dpkg-new", "hook.dpkg-old", "hook.rpmsave",
                    "hook.rpmnew", ""})
    CHECK(ignored_name(name));
  for (auto name : {"hook", "hook.sh", "10_disk", "a.60s.sh", "hook#1", "rpm.sh"})
    CHECK_FALSE(ignored_name(name));
}

TEST_CASE("names of one charset") {
  for (auto name : {"hook", "hook.sh", "10-disk_x", "A.1"}) CHECK(safe_name(name));
  for (auto name : {"my hook", "a;b", "a$b", "ä", ".x", "a\nb", "", "a/b", "-rf\t"})
    CHECK_FALSE(safe_name(name));
}

TEST_CASE("intervals of folders and files") {
  struct Row {
    const char* name;
    int64_t ms;  // 0: not an interval, -1: an error
  };
  for (Row row : {Row{"60", 60'000},
                  {"60s", 60'000},
                  {"5m", 300'000},
                  {"1h", 3'600'000},
                  {"1500ms", 1'500},
                  {"lib", 0},
                  {"5x", 0},
                  {"", 0},
                  {"s", 0},
                  {"1.5", 0},
                  {"-5", 0},
                  {"0", -1},
                  {"100ms", -1},
                  {"2d", -1}}) {
    INFO(row.name);
    auto interval = interval_of_folder(row.name);
    CHECK(interval.ok() == (row.ms >= 0));
    if (interval.ok()) CHECK((*interval).value_or(0) == row.ms);
  }
  for (Row row : {Row{"queue_depth.60s.sh", 60'000},
                  {"queue.5m", 300'000},
                  {"a.b.1h.c", 3'600'000},
                  {"queue.60.sh", 0},
                  {"60s.sh", 0},
                  {"queue.sh", 0},
                  {"queue.s.sh", 0},
                  {"queue.10ms.sh", 0},
                  {"queue.60x.sh", 0},
                  {"", 0}}) {
    INFO(row.name);
    CHECK(interval_of_file(row.name).value_or(0) == row.ms);
  }
}

TEST_CASE("headers pin what is not detected") {
  HookOptions defaults{10'000, 5'000, {}};
  struct Row {
    const char* text;
    HookOptions options;
  };
  for (const Row& row : std::vector<Row>{
           {"#!/bin/sh\n# runnel: interval=60s timeout=5m format=prometheus\n",
            {60'000, 300'000, Format::prometheus}},
           {"#!/bin/sh\n\n#  a hook\n#runnel:  format=json\r\n", {10'000, 5'000, Format::json}},
           {"#!/bin/sh\n# runnel: interval=2s\n# runnel: timeout=1s\n", {2'000, 1'000, {}}},
           {"#!/bin/sh\n# runnel:\necho a 1\n", {10'000, 5'000, {}}},
           {"#!/bin/sh\necho '# runnel: interval=bad'\n", {10'000, 5'000, {}}},
           {"#!/bin/sh\n1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n13\n14\n15\n16\n17\n18\n19\n# runnel: "
            "interval=x\n",
            defaults},
           {"\x7f"
            "ELF\n# runnel: interval=x\n",
            defaults},
           {"", defaults},
       }) {
    INFO(row.text);
    auto read = read_header(row.text, defaults);
    REQUIRE(read.ok());
    CHECK(*read == row.options);
  }
  struct Bad {
    const char* text;
    const char* says;
  };
  for (const Bad& row : std::vector<Bad>{
           {"#!/bin/sh\n# runnel: interval=60\n", "line 2: interval: "},
           {"#!/bin/sh\n\n# runnel: interval=soon\n", "line 3: interval: "},
           {"#!/bin/sh\n# runnel: interval=0s\n", "0s is not between 1s and 1d"},
           {"#!/bin/sh\n# runnel: timeout=2h\n", "timeout: 2h is not between"},
           {"#!/bin/sh\n# runnel: format=xml\n", "none of simple, statsd, influx, prometheus, json"},
           {"#!/bin/sh\n# runnel: intervall=5s\n", "is it interval?"},
           {"#!/bin/sh\n# runnel: colour=red\n", "there are interval, timeout and format"},
           {"#!/bin/sh\n# runnel: 60s\n", "\"60s\" is not option=value"},
       }) {
    INFO(row.text);
    auto read = read_header(row.text, defaults);
    REQUIRE_FALSE(read.ok());
    INFO(read.error());
    CHECK(read.error().find(row.says) != std::string::npos);
    CHECK(read.error().rfind("line ", 0) == 0);
  }
}

TEST_CASE("splay stays within a tenth of the interval and spreads") {
  CHECK(splay_ms("a", 1) == 0);
  bool differ = false;
  for (int i = 0; i < 100; i++) {
    int64_t splay = splay_ms("hook" + std::to_string(i), 10'000);
    CHECK(splay >= 0);
    CHECK(splay < 1'000);
    CHECK(splay == splay_ms("hook" + std::to_string(i), 10'000));
    CHECK(splay_ms("hook" + std::to_string(i), 86'400'000) < 5'000);
    differ = differ || splay != splay_ms("hook0", 10'000);
  }
  CHECK(differ);
}

TEST_CASE("back-off doubles from the third failure, has a cap and ends with a success") {
  struct Row {
    int64_t interval_ms;
    std::vector<int64_t> pauses;
  };
  for (const Row& row : std::vector<Row>{{10'000, {0, 0, 20'000, 40'000, 80'000, 100'000, 100'000}},
                                         {300'000, {0, 0, 600'000, 600'000}},
                                         {3'600'000, {0, 0, 3'600'000, 3'600'000}},
                                         {1'000, {0, 0, 2'000, 4'000, 8'000, 10'000}}}) {
    FailureBackoff backoff;
    int64_t now = 50'000;
    for (int64_t pause : row.pauses) {
      CHECK_FALSE(backoff.waiting(now));
      CHECK(backoff.failed(row.interval_ms, now) == pause);
      CHECK(backoff.waiting(now + pause - row.interval_ms / 2 - 1) == (pause > 0));
      now += pause;
    }
    backoff.succeeded();
    CHECK(backoff.failures() == 0);
    CHECK_FALSE(backoff.waiting(now));
    CHECK(backoff.failed(row.interval_ms, now) == 0);
  }
}
