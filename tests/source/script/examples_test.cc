// The examples that are shipped: each runs, quickly and silently, and all that it prints is understood.
#include "source/script/hook_file.h"
#include "source/script/source_rig.h"
#include "source/script/support.h"

using namespace runnel;
using namespace runnel::script;

TEST_CASE("every example in scripts.d works") {
  // A copy: the checkout may lie in a folder that the trust check refuses.
  TempFolder folder;
  std::filesystem::copy(RUNNEL_SCRIPTS_DIR, folder / "scripts.d", std::filesystem::copy_options::recursive);
  std::filesystem::permissions(folder / "scripts.d",
                               std::filesystem::perms::group_write | std::filesystem::perms::others_write,
                               std::filesystem::perm_options::remove);
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder / "scripts.d"))
    std::filesystem::permissions(entry.path(),
                                 std::filesystem::perms::group_write | std::filesystem::perms::others_write,
                                 std::filesystem::perm_options::remove);
  SourceRig rig(folder / "scripts.d");
  bool ok = false;
  CHECK(rig.run_once(&ok));
  CHECK(ok);
  CHECK(rig.source->hooks() >= 5);
  CHECK(rig.counts.bad.sum() == 0);
  CHECK(rig.counts.accepted >= 10);
  SelfReport report;
  rig.source->report(report);
  for (const auto& row : report.rows()) {
    if (row.metric.name != self::kScriptDuration.name) continue;
    INFO(row.tags[0].second);
    CHECK(row.value.as_double() < 3);
    CHECK(rig.samples_of(row.tags[0].second) > 0);
  }
}
