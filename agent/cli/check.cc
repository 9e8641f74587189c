#include <fmt/format.h>

#include "agent/catalog.h"
#include "cli/cli.h"

namespace runnel::cli {
namespace {

LoadResult load(const Arguments& arguments, SinkRegistry& registry, bool strict) {
  std::string path = config_path(arguments);
  Catalog catalog = make_catalog(registry);
  return path.empty() ? load_builtin_config(catalog) : load_config(path, catalog, strict);
}

int print_problems(const LoadResult& loaded) {
  for (const Problem& problem : loaded.errors) fmt::print("{}\n", to_string(problem));
  return loaded.errors.empty() ? 0 : kExitConfig;
}

}  // namespace

int check(const Arguments& arguments) {
  SinkRegistry registry;
  LoadResult loaded = load(arguments, registry, true);
  for (const Problem& warning : loaded.warnings) fmt::print(stderr, "{}\n", to_string(warning));
  if (loaded.errors.empty()) {
    std::string path = config_path(arguments);
    fmt::print(stderr, "{}: ok\n", path.empty() ? "built-in defaults" : path);
  }
  return print_problems(loaded);
}

int config(const Arguments& arguments) {
  SinkRegistry registry;
  LoadResult loaded = load(arguments, registry, false);
  if (!loaded.errors.empty()) {
    for (const Problem& problem : loaded.errors) fmt::print(stderr, "{}\n", to_string(problem));
    return kExitConfig;
  }
  fmt::print("{}", print_config(loaded.config, make_catalog(registry)));
  return 0;
}

}  // namespace runnel::cli
