// The configuration without a file: everything that needs no server, on loopback. Loaded by the same loader
// as a file.
#pragma once

namespace runnel {

inline constexpr char kBuiltinConfig[] = R"toml(
[source.statsd]
listen = ["udp://127.0.0.1:8125"]

[source.scripts]
dir = "${RUNNEL_SCRIPTS_DIR:-/etc/runnel/scripts.d}"

[source.host]

[source.riemann]

[output.stdout]
sink     = "stdout"
encoding = "pretty"
batch    = { max_age = "100ms" }    # a person is watching
)toml";

}  // namespace runnel
