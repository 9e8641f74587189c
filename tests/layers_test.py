#!/usr/bin/env python3
"""Who may include whom: agent/ARCHITECTURE.md's layers, held to the #include lines of agent/ and plugins/.

Prints FILE:LINE: what, one line a violation, and exits 1. It first proves on small made-up trees that each rule finds
its violation. `layers_test.py FOLDER` checks another tree.
"""
import os
import re
import sys
import tempfile

# The rooms of agent/ in the order of their rows. A room includes from itself and from the rooms named here, no others:
# rooms of one row do not see each other.
BELOW = ["base", "metric", "loop", "net", "filter", "sketch", "config", "journal"]
ROOMS = {
    "base": [],
    "metric": ["base"],
    "loop": ["base"],
    "net": ["base"],
    "filter": ["base", "metric"],
    "sketch": ["base", "metric"],
    "config": ["base", "metric", "net"],
    "journal": ["base", "metric", "sketch"],
    "source/statsd": BELOW,
    "source/script": BELOW + ["source/statsd"],  # hooks may print StatsD lines: its parser and its table of series
    "source/host": BELOW,
    "source/riemann": BELOW,
    "source/ffwd": BELOW,
    "pipeline": BELOW,
    "output": BELOW,
    "admin": BELOW,
    "agent": BELOW + ["source/statsd", "source/script", "source/host", "source/riemann", "source/ffwd", "pipeline",
                      "output", "admin", "version.h.in"],
    "version.h.in": [],
}
ROOMS["cli"] = list(ROOMS)
ROOMS["main.cc"] = list(ROOMS)

# The C interfaces of what is loaded, and the rooms that may see them.
HEADER_ROOMS = {
    "plugins/include/runnel_sink.h": ["config", "output", "agent", "cli", "main.cc"],
    "plugins/include/runnel_tls.h": ["net"],
    "plugins/include/runnel_httpd.h": ["net"],
}
# The table of the sinks inside the executable names each by the one header that declares its descriptor.
SINK_TABLE = "agent/output/sink_registry.cc"
BUILT_IN_SINK = re.compile(r"plugins/(\w+)/\1_sink\.h")

# (what an include matches, the files that may have it as a pattern, what the rule is).
LIBRARIES = [
    (r"uv\.h|uv/.*", r"agent/loop/.*", "uv.h belongs to agent/loop alone"),
    (r"(.*/)?toml\.hpp|toml\+\+/.*", r"agent/config/toml_tree\.cc",
     "toml++ belongs to agent/config/toml_tree.cc alone"),
    (r"dlfcn\.h", r"agent/base/module\.cc", "dlfcn.h belongs to agent/base/module.cc alone"),
    (r"openssl/.*", r"plugins/tls/.*", "OpenSSL belongs to plugins/tls alone"),
    (r"microhttpd\.h", r"plugins/httpd/.*", "libmicrohttpd belongs to plugins/httpd alone"),
    (r"protozero/.*", r"agent/source/(riemann|ffwd)/.*", "protozero belongs to the sources of protobuf"),
    (r"curl/.*", r"plugins/http/.*", "libcurl belongs to plugins/http alone"),
    (r"librdkafka/.*", r"plugins/kafka/.*", "librdkafka belongs to plugins/kafka alone"),
]

INCLUDE = re.compile(r'\s*#\s*include\s*(["<])([^">]+)[">]')
DLOPEN = re.compile(r"\bdlm?open\s*\(")
SOURCE = (".cc", ".h", ".hpp", ".cpp", ".c")


def without_comments(text):
    """The text with comments blanked and line breaks kept. Strings are kept: an include's name is one."""
    token = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
    return token.sub(lambda m: re.sub(r"[^\n]", " ", m.group()) if m.group()[0] == "/" else m.group(), text)


def room_of(path):
    """The room of a path below agent/, or None."""
    return next((room for room in ROOMS if path == room or path.startswith(room + "/")), None)


def resolve(root, includer, name):
    """The included file below root: as the compiler looks for it, or by its name where a build makes it. None: a
    header of the system."""
    folders = [os.path.dirname(includer), "agent", "plugins/include", "plugins/support", "plugins"]
    if includer == SINK_TABLE and name.endswith("_sink.h"):
        folders.append("plugins/" + name[:-len("_sink.h")])  # its library says so
    for folder in folders:
        path = os.path.normpath(os.path.join(folder, name))
        for made_from in ("", ".in"):
            if os.path.exists(os.path.join(root, path + made_from)):
                return path + made_from
    return "agent/" + name if room_of(name) else None


def check_agent(includer, target):
    room = room_of(includer[len("agent/"):])
    if room is None:
        return "this folder is no room: name it in tests/layers_test.py and agent/ARCHITECTURE.md"
    if target.startswith("plugins/"):
        if includer == SINK_TABLE and BUILT_IN_SINK.fullmatch(target):
            return None
        if target not in HEADER_ROOMS:
            return "agent/ sees nothing of plugins/ but " + ", ".join(map(os.path.basename, HEADER_ROOMS))
        if room not in HEADER_ROOMS[target]:
            return "%s does not see %s (only %s do)" % (room, os.path.basename(target),
                                                        ", ".join(HEADER_ROOMS[target]))
        return None
    seen = room_of(target[len("agent/"):])
    if seen != room and seen not in ROOMS[room]:
        return "%s does not see %s (it sees: %s)" % (room, seen or target, ", ".join(ROOMS[room]) or "nothing")
    return None


def check_plugin(includer, target):
    own = "/".join(includer.split("/")[:2]) + "/"
    if target.startswith(("plugins/include/", "plugins/support/", own)):
        return None
    return "a plugin sees plugins/include, plugins/support and its own folder"


def check_include(root, includer, quote, name):
    for what, where, rule in LIBRARIES:
        if re.fullmatch(what, name) and not re.fullmatch(where, includer):
            return rule
    if ".." in name.split("/"):
        return "write includes from the folder's root, without .."
    target = resolve(root, includer, name)
    if target is None:
        return "there is no such file" if quote == '"' else None
    return (check_agent if includer.startswith("agent/") else check_plugin)(includer, target)


def sources(root):
    for top in ("agent", "plugins"):
        for folder, _, names in sorted(os.walk(os.path.join(root, top))):
            for name in sorted(names):
                if name.endswith(SOURCE):
                    yield os.path.relpath(os.path.join(folder, name), root)


def check_tree(root):
    """All violations below root as (file, line, text)."""
    found, dlopens = [], []
    for path in sources(root):
        with open(os.path.join(root, path), encoding="utf-8") as file:
            lines = without_comments(file.read()).split("\n")
        for number, line in enumerate(lines, 1):
            include = INCLUDE.match(line)
            problem = check_include(root, path, *include.groups()) if include else None
            if problem:
                found.append((path, number, "includes %s: %s" % (include.group(2), problem)))
            if DLOPEN.search(line):
                dlopens.append((path, number))
    found += [(path, number, "dlopen belongs to agent/base/module.cc alone") for path, number in dlopens
              if path != "agent/base/module.cc"]
    return sorted(found)


# --- the test of this test ------------------------------------------------------------------------------------------

# One file each in a tree that has BASE_TREE: (path, text, line of the violation or 0, words of the message).
BASE_TREE = {
    "agent/base/text.h": "", "agent/metric/batch.h": "", "agent/loop/loop.h": "", "agent/filter/filter.h": "",
    "agent/config/config.h": "", "agent/journal/log.h": "", "agent/source/statsd/parser.h": "",
    "agent/source/script/runner.h": "", "agent/source/host/cpu.h": "", "agent/pipeline/enrich.h": "",
    "agent/output/output.h": "", "agent/agent/agent.h": "", "agent/cli/check.h": "", "agent/admin/admin.h": "",
    "agent/version.h.in": "",
    "plugins/include/runnel_sink.h": "", "plugins/include/runnel_tls.h": "",
    "plugins/include/runnel_httpd.h": "", "plugins/support/answers.h": "", "plugins/http/http_sink.h": "",
    "plugins/file/file_sink.h": "",
    "agent/base/module.cc": "#include <dlfcn.h>\nvoid* f() { return dlopen(0, 0); }\n",
}
CASES = [
    # Accepted.
    ("agent/metric/a.cc", '#include "base/text.h"\n#include <vector>\n#include <sys/stat.h>\n', 0, ""),
    ("agent/loop/a.cc", '#include <uv.h>\n#include "loop/loop.h"\n', 0, ""),
    ("agent/config/toml_tree.cc", '#include <toml++/toml.h>\n#include "runnel_sink.h"\n', 0, ""),
    ("agent/config/a.cc", '#include "config/builtin.toml.h"\n', 0, ""),  # made by the build
    ("agent/source/script/a.cc", '#include "source/statsd/parser.h"\n', 0, ""),
    ("agent/source/host/a.cc", '#include "cpu.h"\n#include "metric/batch.h"\n', 0, ""),
    ("agent/agent/a.cc", '#include "output/output.h"\n#include "source/host/cpu.h"\n', 0, ""),
    ("agent/main.cc", '#include "cli/check.h"\n#include "version.h"\n', 0, ""),
    ("agent/base/a.cc", '// #include <uv.h>\n/*\n#include "metric/batch.h"\n*/\n// dlopen(x)\n', 0, ""),
    ("plugins/http/a.cc", '#include <curl/curl.h>\n#include "http_sink.h"\n#include "answers.h"\n', 0, ""),
    ("plugins/http/b.cc", '#include "runnel_sink.h"\n#include "support/answers.h"\n', 0, ""),
    ("agent/output/sink_registry.cc", '#include "file_sink.h"\n#include "runnel_sink.h"\n', 0, ""),
    # A row above, a sibling, a higher row by another spelling.
    ("agent/base/a.cc", '\n#include "metric/batch.h"\n', 2, "base does not see metric"),
    ("agent/base/a.h", "#include <loop/loop.h>\n", 1, "base does not see loop"),
    ("agent/metric/a.h", '#  include "loop/loop.h"\n', 1, "metric does not see loop"),
    ("agent/loop/a.h", '#include "metric/batch.h"\n', 1, "loop does not see metric"),
    ("agent/filter/a.cc", '#include "config/config.h"\n', 1, "filter does not see config"),
    ("agent/config/a.cc", '#include "filter/filter.h"\n', 1, "config does not see filter"),
    ("agent/journal/a.cc", '#include "output/output.h"\n', 1, "journal does not see output"),
    ("agent/pipeline/a.cc", '#include <map>\n\n#include "output/output.h"\n', 3, "pipeline does not see output"),
    ("agent/output/a.cc", '#include "pipeline/enrich.h"\n', 1, "output does not see pipeline"),
    ("agent/source/statsd/a.cc", '#include "source/script/runner.h"\n', 1, "does not see source/script"),
    ("agent/source/host/a.cc", '#include "source/statsd/parser.h"\n', 1, "does not see source/statsd"),
    ("agent/source/statsd/a.cc", '#include "agent/agent.h"\n', 1, "does not see agent"),
    ("agent/agent/a.cc", '#include "cli/check.h"\n', 1, "agent does not see cli"),
    ("agent/output/a.cc", '#include "../pipeline/enrich.h"\n', 1, "without .."),
    ("agent/newroom/a.cc", '#include "base/text.h"\n', 1, "this folder is no room"),
    ("agent/base/a.cc", '#include "base/no_such.h"\n#include "nowhere.h"\n', 2, "there is no such file"),
    ("agent/base/a.cc", '/* a\nb */ const char* s = "//";\n#include "metric/batch.h"\n', 3, "base does not see metric"),
    ("agent/output/a.cc", '#include "version.h"\n', 1, "output does not see version.h"),
    # Libraries.
    ("agent/source/statsd/a.cc", "#include <uv.h>\n", 1, "uv.h belongs"),
    ("agent/config/load.cc", "#include <toml++/toml.hpp>\n", 1, "toml++ belongs"),
    ("agent/config/load.cc", '#include "toml.hpp"\n', 1, "toml++ belongs"),
    ("agent/output/a.h", "#include <curl/curl.h>\n", 1, "libcurl belongs"),
    ("plugins/http/a.cc", "#include <librdkafka/rdkafka.h>\n", 1, "librdkafka belongs"),
    ("agent/agent/a.cc", "#include <dlfcn.h>\n", 1, "dlfcn.h belongs"),
    ("agent/net/a.cc", "#include <openssl/ssl.h>\n", 1, "OpenSSL belongs"),
    ("agent/output/second.cc", "\n\nauto p = dlopen(name, 0);\n", 3, "dlopen belongs to agent/base/module.cc"),
    ("agent/agent/a.cc", "auto p = ::dlmopen (0, name, 0);\n", 1, "dlopen belongs to agent/base/module.cc"),
    # Plugins.
    ("plugins/http/a.cc", '#include "base/text.h"\n', 1, "a plugin sees"),
    ("plugins/http/a.cc", '#include "file/file_sink.h"\n', 1, "a plugin sees"),
    ("plugins/support/a.h", '#include "http/http_sink.h"\n', 1, "a plugin sees"),
    ("plugins/http/a.cc", "#include <uv.h>\n", 1, "uv.h belongs"),
    ("agent/output/a.cc", '#include "file/file_sink.h"\n', 1, "agent/ sees nothing of plugins/"),
    ("agent/output/sink_registry.cc", '#include "answers.h"\n', 1, "agent/ sees nothing of plugins/"),
    ("agent/base/a.cc", '#include "runnel_sink.h"\n', 1, "base does not see runnel_sink.h"),
    ("agent/net/a.cc", '#include "runnel_tls.h"\n#include "runnel_httpd.h"\n', 0, ""),
    ("agent/net/a.cc", "#include <microhttpd.h>\n", 1, "libmicrohttpd belongs"),
    ("agent/source/ffwd/a.cc", '#include "runnel_httpd.h"\n', 1, "does not see runnel_httpd.h"),
    ("agent/source/riemann/a.cc", '#include "runnel_tls.h"\n', 1, "does not see runnel_tls.h"),
]


def write_tree(root, files):
    for path, text in files.items():
        os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
        with open(os.path.join(root, path), "w", encoding="utf-8") as file:
            file.write(text)


def self_test():
    """What went wrong, one text a case."""
    wrong = []
    for path, text, line, words in CASES:
        with tempfile.TemporaryDirectory() as root:
            write_tree(root, {**BASE_TREE, path: text})
            found = check_tree(root)
        as_wanted = [f[:2] for f in found] == ([(path, line)] if line else []) and all(words in f[2] for f in found)
        if not as_wanted:
            wrong.append("%s with %r: wanted %s, found %s" % (path, text, (line, words) if line else "nothing", found))
    return wrong


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    wrong = self_test()
    for text in wrong:
        print("self-test: " + text)
    found, checked = check_tree(root), len(list(sources(root)))
    for path, line, text in found:
        print("%s:%d: %s" % (path, line, text))
    print("%d cases of the self-test, %d files checked, %d violations" % (len(CASES), checked, len(found)))
    return 1 if wrong or found or checked == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
