// What this build can do, gathered for the configuration's checks and for `runnel list`. Main thread.
#pragma once

#include "config/load.h"
#include "output/sink_registry.h"

namespace runnel {

Catalog make_catalog(SinkRegistry& registry);  // keeps a reference to the registry

}  // namespace runnel
