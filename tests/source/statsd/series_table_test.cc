// A table of series against a model that cannot be wrong.
#include "source/statsd/series_table.h"

#include <fmt/format.h>

#include <map>
#include <random>
#include <set>
#include <tuple>

#include "support/catch.h"

using namespace runnel;
using namespace runnel::statsd;

namespace {

using Spelling = std::tuple<std::string, std::string, Type>;

// The same operations on a table and on maps. A series is told apart by its number, which its cell holds in `whole`.
class Rig {
 public:
  SeriesTable table;

  void add(const Spelling& key, bool escaped) {
    const auto& [name, tags, type] = key;
    auto& keys = escaped ? escaped_keys_ : keys_;
    REQUIRE(keys.count(key) == 0);
    uint32_t index = table.add(name, tags, type, escaped);
    Cell& cell = table.cell(index);
    // As new, whatever the cell was before.
    REQUIRE(cell.lines == 0);
    REQUIRE(cell.whole == 0);
    REQUIRE(cell.rest == 0);
    REQUIRE(cell.idle_ms == 0);
    REQUIRE_FALSE(cell.dead);
    REQUIRE(used_.insert(index).second);
    cell.whole = next_;
    keys[key] = next_;
    series_[next_++] = {key, escaped, index};
  }
  void add_alias(const Spelling& spelling, int64_t number) {
    const auto& [name, tags, type] = spelling;
    table.add_alias(table.hash(name, tags, type), name, tags, series_.at(number).index);
    aliases_[spelling] = number;
  }
  void erase(int64_t number) {
    Series series = series_.at(number);
    table.erase(series.index);
    used_.erase(series.index);
    (series.escaped ? escaped_keys_ : keys_).erase(series.key);
    std::erase_if(aliases_, [&](const auto& alias) { return alias.second == number; });
    series_.erase(number);
  }

  // 0: none.
  int64_t find(const Spelling& spelling) const {
    const auto& [name, tags, type] = spelling;
    uint32_t index = table.find(table.hash(name, tags, type), name, tags, type);
    return index == SeriesTable::kNone ? 0 : table.cell(index).whole;
  }
  int64_t find_key(const Spelling& spelling, bool escaped) const {
    const auto& [name, tags, type] = spelling;
    uint32_t index = table.find_key(name, tags, type, escaped);
    return index == SeriesTable::kNone ? 0 : table.cell(index).whole;
  }
  int64_t wanted(const Spelling& spelling) const {
    if (auto key = keys_.find(spelling); key != keys_.end()) return key->second;
    auto alias = aliases_.find(spelling);
    return alias == aliases_.end() ? 0 : alias->second;
  }
  int64_t wanted_key(const Spelling& spelling, bool escaped) const {
    auto& keys = escaped ? escaped_keys_ : keys_;
    auto key = keys.find(spelling);
    return key == keys.end() ? 0 : key->second;
  }
  bool taken(const Spelling& spelling) const { return keys_.count(spelling) + aliases_.count(spelling) > 0; }
  size_t size() const { return series_.size(); }
  int64_t any(std::minstd_rand& random) const {
    auto at = series_.lower_bound(static_cast<int64_t>(random() % static_cast<uint64_t>(next_)));
    return at == series_.end() ? series_.begin()->first : at->first;
  }
  const Spelling& key(int64_t number) const { return series_.at(number).key; }

  void check_all() const {
    REQUIRE(table.live() == series_.size());
    REQUIRE(table.aliases() >= aliases_.size());
    size_t bytes = 0, live = 0;
    for (const auto& [number, series] : series_) {
      const auto& [name, tags, type] = series.key;
      const Cell& cell = table.cell(series.index);
      REQUIRE(cell.whole == number);
      REQUIRE(cell.type == type);
      REQUIRE(cell.escaped == series.escaped);
      REQUIRE(table.name(cell) == name);
      REQUIRE(table.tags(cell) == tags);
      REQUIRE(find_key(series.key, series.escaped) == number);
      bytes += name.size() + tags.size();
    }
    for (const auto& [spelling, number] : aliases_) {
      REQUIRE(find(spelling) == number);
      bytes += std::get<0>(spelling).size() + std::get<1>(spelling).size();
    }
    REQUIRE(table.key_bytes() >= bytes);  // more: aliases that are not swept yet
    for (size_t i = 0; i < table.cells(); i++) live += !table.cell(static_cast<uint32_t>(i)).dead;
    REQUIRE(live == series_.size());
  }

 private:
  struct Series {
    Spelling key;
    bool escaped;
    uint32_t index;
  };
  std::map<Spelling, int64_t> keys_, escaped_keys_, aliases_;
  std::map<int64_t, Series> series_;
  std::set<uint32_t> used_;
  int64_t next_ = 1;
};

// Few enough to collide and to come back, among them the same bytes with another border between name and tags.
Spelling random_spelling(std::minstd_rand& random, uint32_t names) {
  std::string name = fmt::format("n{}", random() % names), tags;
  if (random() % 2 == 0) tags = fmt::format("t{}", random() % 3);
  if (random() % 16 == 0) tags.swap(name);
  if (name.empty()) name.push_back('n');
  if (random() % 64 == 0) name += std::string(random() % 3000, 'x');
  return {name, tags, static_cast<Type>(random() % 4)};
}

}  // namespace

TEST_CASE("any sequence of operations finds what a map finds") {
  for (uint32_t names : {8U, 300U, 5'000U}) {
    Rig rig;
    std::minstd_rand random(names);
    for (int step = 0; step < 60'000; step++) {
      Spelling spelling = random_spelling(random, names);
      bool escaped = random() % 8 == 0;
      switch (random() % 8) {
        case 0:
        case 1:
          if (escaped ? rig.wanted_key(spelling, true) == 0 : !rig.taken(spelling))
            rig.add(spelling, escaped);
          break;
        case 2:
          if (rig.size() > 0 && !rig.taken(spelling)) {
            // An alias is a spelling of a series of its type.
            int64_t number = rig.any(random);
            std::get<2>(spelling) = std::get<2>(rig.key(number));
            if (!rig.taken(spelling)) rig.add_alias(spelling, number);
          }
          break;
        case 3:
          // Waves: the table grows, then shrinks.
          if (rig.size() > 0 && (step / 8192 % 2 == 1 || random() % 4 == 0)) rig.erase(rig.any(random));
          break;
        case 4:
          rig.table.sweep_aliases(random() % 64);
          break;
        case 5:
          if (random() % 16 == 0) rig.table.pack();
          break;
        default:
          break;
      }
      INFO("step " << step);
      REQUIRE(rig.find(spelling) == rig.wanted(spelling));
      REQUIRE(rig.find_key(spelling, true) == rig.wanted_key(spelling, true));
      // A canonical spelling is asked for by find_key; what is an alias only has no business there.
      if (int64_t key = rig.wanted_key(spelling, false); key != 0)
        REQUIRE(rig.find_key(spelling, false) == key);
      if (step % 4096 == 0) rig.check_all();
    }
    rig.check_all();
    while (rig.size() > 0) rig.erase(rig.any(random));
    rig.check_all();
    // Everything is given back: three rounds later no alias and no byte is left.
    for (int i = 0; i < 3; i++) rig.table.sweep_aliases(1'000'000);
    CHECK(rig.table.aliases() == 0);
    CHECK(rig.table.key_bytes() == 0);
  }
}

TEST_CASE("a table grows to 100,000 series and is used again") {
  SeriesTable table;
  constexpr uint32_t kSeries = 100'000;
  size_t cells = 0;
  for (int round = 0; round < 3; round++) {
    std::vector<uint32_t> made;
    for (uint32_t i = 0; i < kSeries; i++) {
      std::string name = fmt::format("round{}.series{}", round, i);
      made.push_back(table.add(name, "", Type::counter, false));
      table.add_alias(table.hash(name, "b,a", Type::counter), name, "b,a", made.back());
    }
    CHECK(table.live() == kSeries);
    for (uint32_t i = 0; i < kSeries; i++) {
      std::string name = fmt::format("round{}.series{}", round, i);
      REQUIRE(table.find(table.hash(name, "", Type::counter), name, "", Type::counter) == made[i]);
      REQUIRE(table.find(table.hash(name, "b,a", Type::counter), name, "b,a", Type::counter) == made[i]);
      REQUIRE(table.find(table.hash(name, "", Type::gauge), name, "", Type::gauge) == SeriesTable::kNone);
    }
    for (uint32_t index : made) table.erase(index);
    for (int i = 0; i < 3; i++) table.sweep_aliases(2 * kSeries);
    table.pack();
    CHECK(table.live() == 0);
    CHECK(table.aliases() == 0);
    CHECK(table.key_bytes() == 0);
    if (round == 0) cells = table.cells();
    CHECK(table.cells() == cells);
  }
}

TEST_CASE("the cell of an erased series is not used while an alias names it") {
  SeriesTable table;
  uint32_t first = table.add("a", "k:1", Type::counter, false);
  uint64_t hash = table.hash("a", "k:1,k:1", Type::counter);
  table.add_alias(hash, "a", "k:1,k:1", first);
  for (int i = 0; i < 10; i++)
    table.add_alias(table.hash("a", std::string(i + 1, ','), Type::counter), "a", std::string(i + 1, ','),
                    first);
  table.erase(first);
  CHECK(table.find(hash, "a", "k:1,k:1", Type::counter) == SeriesTable::kNone);
  // Less than a round of sweeping: some aliases are there, new series get new cells.
  for (int i = 0; i < 8; i++) {
    table.sweep_aliases(1);
    uint32_t other = table.add(fmt::format("b{}", i), "", Type::counter, false);
    CHECK(other != first);
    CHECK(table.find(hash, "a", "k:1,k:1", Type::counter) == SeriesTable::kNone);
  }
  for (int i = 0; i < 3; i++) table.sweep_aliases(100);
  CHECK(table.aliases() == 0);
  CHECK(table.add("c", "", Type::counter, false) == first);
}
