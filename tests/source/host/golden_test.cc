// One round over each captured tree, compared with a text in tests/golden/host. After a change that is meant:
// RUNNEL_GOLDEN=write test_host, and read the difference that git shows.
#include "host_support.h"
#include "support/catch.h"

using namespace runnel;
using namespace runnel::test;

namespace {

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> out;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) out.push_back(line);
  return out;
}

// Lines that only one side has; a line is a series, so this reads better than a diff by position.
std::string difference_of(const std::string& wanted, const std::string& got) {
  std::vector<std::string> a = lines_of(wanted), b = lines_of(got);
  std::multiset<std::string> in_a(a.begin(), a.end()), in_b(b.begin(), b.end());
  std::string out;
  for (const std::string& line : a)
    if (!in_b.count(line)) out += "- " + line + "\n";
  for (const std::string& line : b)
    if (!in_a.count(line)) out += "+ " + line + "\n";
  return out.empty() && wanted != got ? "the order of lines, or how often one stands there\n" : out;
}

}  // namespace

TEST_CASE("captured trees give the golden samples") {
  for (std::string name : {"baremetal", "container"}) {
    Host host(fixture(name));
    Batch batch = host.round();
    std::string got =
        "# " + name + ": one round of all collectors. series kind value unit, since: start of a total (ms)\n";
    for (const Sample& sample : batch.samples) got += sample_text(batch, sample) + "\n";

    std::string path = std::string(RUNNEL_TESTS_DIR) + "/golden/host/" + name + ".txt";
    if (const char* mode = std::getenv("RUNNEL_GOLDEN"); mode != nullptr && std::string_view(mode) == "write")
      std::ofstream(path, std::ios::binary) << got;
    std::string wanted = slurp(path);
    INFO(path << "\n" << difference_of(wanted, got));
    CHECK(wanted == got);

    CHECK(host.counts.bad.sum() == 0);
    CHECK(host.counts.accepted == batch.samples.size());
    CHECK(host.balanced());
    for (const Sample& sample : batch.samples) CHECK(sample.time_ms == 1'763'769'600'000);
    // The second round, with all files open and their tables learnt, says the same.
    CHECK(values(host.round()) == values(batch));
  }
}

TEST_CASE("a series is reported once a round, and its tags come sorted") {
  for (std::string name : {"baremetal", "container"}) {
    Batch batch = Host(fixture(name)).round();
    std::set<std::string> seen;
    for (const Sample& sample : batch.samples) {
      CAPTURE(series_text(batch, sample));
      CHECK(seen.insert(series_text(batch, sample)).second);
      std::string before;
      for (Tag tag : batch.view(sample.series)) {
        CHECK(before < tag.key);
        before = tag.key;
      }
      CHECK(batch.view(sample.unit).size() > 0);
    }
  }
}

TEST_CASE("docs/host.md names every metric that the collectors send, and none that they do not") {
  std::string page = slurp(std::string(RUNNEL_TESTS_DIR) + "/../docs/host.md");
  REQUIRE(!page.empty());
  std::set<std::string> sent;
  for (std::string name : {"baremetal", "container"}) {
    Batch batch = Host(fixture(name)).round();
    for (const Sample& sample : batch.samples) sent.emplace(batch.view(sample.series).name());
  }
  CHECK(sent.size() > 50);
  for (const std::string& name : sent) {
    CAPTURE(name);
    CHECK(page.find("`" + name + "`") != std::string::npos);
  }
  std::set<std::string> named;
  for (size_t at = page.find("\n| `system."); at != std::string::npos; at = page.find("\n| `system.", at + 1))
    named.insert(page.substr(at + 4, page.find('`', at + 4) - at - 4));
  for (const std::string& name : named) {
    CAPTURE(name);
    CHECK(sent.count(name) == 1);
  }
}
