"""The manual pages, made of what is written already: the texts of `runnel help`, the Markdown manual, the sink header.

    make.py SOURCE RUNNEL OUTPUT      writes OUTPUT/PAGE.SECTION.scd for each page; scdoc(1) makes them man pages
"""
import os
import re
import subprocess
import sys


def escape(text):
    """Plain text, as scdoc(5) takes it literally."""
    return re.sub(r"([\\_*<>#`\[\]|+~.])", r"\\\1", text)


def inline(text):
    """Markdown inside a paragraph: code and bold become bold, links their text."""
    out = []
    for part in re.split(r"(`[^`]+`|\*\*.+?\*\*|\[[^\]]+\]\([^)]+\))", text):
        if part.startswith("`"):
            out.append(f"*{escape(part[1:-1])}*")
        elif part.startswith("**"):
            out.append(f"*{escape(part[2:-2])}*")
        elif match := re.fullmatch(r"\[([^\]]+)\]\([^)]+\)", part):
            out.append(escape(match[1].strip("`")))
        else:
            out.append(escape(part.replace("\\|", "|")))
    return "".join(out)


def cells(row):
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", row.strip().strip("|"))]


def literal(lines):
    return "```\n" + "\n".join(lines) + "\n```"


def table(rows):
    """A row is a term and, indented below it, the other cells: a terminal is too narrow for columns of sentences."""
    head, out = cells(rows[0]), []
    for row in rows[2:]:
        first, *others = cells(row)
        if head[1:3] == ["type", "default"]:  # keys of the configuration
            term = f"{inline(first)} ({escape(others[0])}, {'required' if others[1] == 'required' else 'default ' + inline(others[1])})"
            others = others[2:]
        else:
            term = inline(first)
        text = "; ".join((f"{name}: " if name and i > 0 else "") + inline(cell)
                         for i, (name, cell) in enumerate(zip(head[1:], others)) if cell)
        out.append(f"{term}\n\t{text}" if text else term)
    return "\n\n".join(out)


def convert(markdown):
    """Markdown as this repository writes it: headings, paragraphs, lists, tables, fenced and indented code."""
    out, lines, i = [], markdown.splitlines(), 0
    while i < len(lines):
        line = lines[i]
        if line.startswith("```"):
            end = next(j for j in range(i + 1, len(lines)) if lines[j].startswith("```"))
            out.append(literal(lines[i + 1:end]))
            i = end + 1
        elif line.startswith("    ") or (line.startswith("  ") and line.strip().startswith("|")):
            end = i
            while end < len(lines) and (lines[end].startswith("  ") or not lines[end].strip()):
                end += 1
            block = [one[4:] for one in lines[i:end]] if line.startswith("    ") else None
            if block is None:
                out.append(table([one.strip() for one in lines[i:end] if one.strip().startswith("|")]))
            else:
                while not block[-1].strip():
                    block.pop()
                out.append(literal(block))
            i = end
        elif line.startswith("|"):
            end = i
            while end < len(lines) and lines[end].startswith("|"):
                end += 1
            out.append(table(lines[i:end]))
            i = end
        elif match := re.match(r"(#+) (.*)", line):
            level, title = len(match[1]), match[2].replace("`", "")
            if level > 1:
                out.append(f"# {title.upper()}" if level == 2 else f"## {title}")  # scdoc takes them as they are
            i += 1
        elif line.startswith("- "):
            item = [line[2:]]
            i += 1
            while i < len(lines) and lines[i].startswith("  ") and lines[i].strip() and not lines[i].strip().startswith("|"):
                item.append(lines[i].strip())
                i += 1
            out.append("- " + inline(" ".join(item)))
        elif line.strip():
            paragraph = []
            while i < len(lines) and lines[i].strip() and not re.match(r"#|\||```|- |    ", lines[i]):
                paragraph.append(lines[i].strip())
                i += 1
            out.append(inline(" ".join(paragraph)))
        else:
            i += 1
    return "\n\n".join(out)


def page(name, section, line, body, see):
    return f"""{name}({section})

# NAME

{escape(name)} - {escape(line)}

{body}

# SEE ALSO

{", ".join(f"*{escape(one[:-3])}*{escape(one[-3:])}" for one in see)}. More is in /usr/share/doc/runnel.
"""


def commands(runnel):
    """(name, synopsis, summary, text) of each command that `runnel help` names."""
    def help_text(*words):
        return subprocess.run([runnel, "help", *words], check=True, capture_output=True, text=True).stdout

    for name in re.findall(r"^  ([a-z]+)", help_text(), re.MULTILINE):
        usage, summary, *rest = help_text(name).split("\n")
        yield name, usage.removeprefix("Usage: "), summary, "\n".join(rest).strip()


def command_text(text):
    """Paragraphs; lines of options (`  --once   …`) are terms, and what follows in deeper columns belongs to them."""
    out = []
    for block in re.split(r"\n\n|\n(?=Exit: )", text):
        if re.match(r" +-", block):
            for option, meaning in re.findall(r"^ +(--?\S+(?: [A-Z]+)?)  +(.*(?:\n {6,}.*)*)", block, re.MULTILINE):
                out.append(f"*{escape(option)}*: {inline(' '.join(meaning.split()))}")
        elif block.strip():
            out.append(inline(" ".join(block.split())))
    return "\n\n\t".join(out)


def runnel_1(source, runnel):
    body = ["# SYNOPSIS"]
    found = list(commands(runnel))
    body += [f"*runnel* {escape(usage.removeprefix('runnel '))}" for _, usage, _, _ in found]
    body += ["*runnel* \\-\\-version", "# DESCRIPTION",
             "A small process on every host: it collects from drop-in scripts, StatsD and Riemann clients and /proc, batches and "
             "compresses, and forwards to a file, a terminal, over HTTP or to Kafka through sink plugins.", "# COMMANDS"]
    for name, usage, summary, text in found:
        term = f"*{name}* {escape(usage.removeprefix('runnel ' + name).strip())}".strip()
        body.append(f"{term}\n\t{escape(summary[:1].upper() + summary[1:])}." + (f"\n\n\t{command_text(text)}" if text else ""))
    body += ["# SIGNALS",
             "*SIGHUP*\n\tReads the configuration again; a bad file leaves the old one running. Files of outputs are opened again.",
             "*SIGTERM*, *SIGINT*\n\tFlushes, lets the outputs deliver for *shutdown\\_timeout* and ends. "
             "A second one ends at once.",
             "# EXIT STATUS",
             "*0*\n\tdone; of *run*: ended by a signal", "*1*\n\t*run \\-\\-once* did not deliver everything; output could not be written",
             "*2*\n\tthe configuration is bad, or what it names cannot be had on this machine (a port that is taken)",
             "*64*\n\tthe command line is wrong",
             "# FILES",
             "/etc/runnel/runnel\\.toml\n\tthe configuration, *runnel.toml*(5), which includes /etc/runnel/conf\\.d/\\*\\.toml as packaged",
             "/etc/runnel/scripts\\.d\n\thooks, *runnel-scripts*(7)",
             "/var/lib/runnel\n\twhat outlives a restart",
             "/run/runnel/metrics\\.prom\n\tthe agent's own metrics as Prometheus text, as packaged",
             "# ENVIRONMENT",
             "*NOTIFY\\_SOCKET*, *WATCHDOG\\_USEC*, *WATCHDOG\\_PID*\n\treadiness and the watchdog, as in *sd\\_notify*(3)",
             "*LISTEN\\_FDS*, *LISTEN\\_PID*, *LISTEN\\_FDNAMES*\n\tsockets that the service manager has bound, as in *sd\\_listen\\_fds*(3); "
             "a source that listens at such an address reads that socket",
             "*RUNNEL\\_SCRIPTS\\_DIR*\n\tthe folder of hooks where there is no configuration file"]
    return page("runnel", 1, "collects the metrics and events of this host and forwards them", "\n\n".join(body),
                ["runnel.toml(5)", "runnel-scripts(7)", "runnel_sink(3)"])


def runnel_toml_5(source, runnel):
    return page("runnel.toml", 5, "configuration of the runnel metrics agent",
                "# DESCRIPTION\n\n" + convert(read(source, "docs/configuration.md")),
                ["runnel(1)", "runnel-scripts(7)"])


def runnel_scripts_7(source, runnel):
    return page("runnel-scripts", 7, "executables whose output runnel collects",
                "# DESCRIPTION\n\n" + convert(read(source, "scripts.d/README.md")),
                ["runnel(1)", "runnel.toml(5)"])


def runnel_sink_3(source, runnel):
    header = read(source, "plugins/include/runnel_sink.h")
    comment, code = re.fullmatch(r"/\*\n(.*?)\n \*/\n(.*)", header, re.DOTALL).groups()
    comment = re.sub(r"^ \* ?", "", comment, flags=re.MULTILINE)
    rules = comment.split("Rules that hold for the whole page\n")[1]
    terms = re.findall(r"^  (\w+) +(.*(?:\n {8,}.*)*)", rules, re.MULTILINE)
    advice = read(source, "plugins/example/README.md").split("## What to decide in a sink of yours\n")[1]
    advice = advice.split("\nThe rules about memory")[0]
    body = ["# SYNOPSIS", "*#include <runnel\\_sink\\.h>*", "*const runnel\\_sink \\*runnel\\_sink\\_descriptor(void);*",
            "# DESCRIPTION",
            "A sink delivers payloads that the agent has batched, encoded and compressed. A plugin is one shared object, built "
            "against this header and nothing else, that exports this one function. The descriptor and all that it points to are "
            "constant for as long as the object is loaded. An output names the plugin by its absolute path: "
            '*sink = "/usr/local/lib/runnel/unixgram\\.so"*. A complete example is in /usr/share/doc/runnel-dev/examples.',
            "# RULES", *(f"*{name}*\n\t{inline(' '.join(text.split()))}" for name, text in terms),
            "# WHAT TO DECIDE", convert(advice),
            "# THE INTERFACE", literal(code.split("#define RUNNEL_SINK_H\n")[1].strip().splitlines())]
    return page("runnel_sink", 3, "the sink plugin interface of the runnel metrics agent", "\n\n".join(body),
                ["runnel(1)", "runnel.toml(5)"])


def read(source, name):
    with open(os.path.join(source, name), encoding="utf-8") as file:
        return file.read()


PAGES = {"runnel.1": runnel_1, "runnel.toml.5": runnel_toml_5, "runnel-scripts.7": runnel_scripts_7, "runnel_sink.3": runnel_sink_3}


def main():
    source, runnel, output = sys.argv[1:]
    os.makedirs(output, exist_ok=True)
    for name, make in PAGES.items():
        with open(os.path.join(output, name + ".scd"), "w", encoding="utf-8") as file:
            file.write(make(source, runnel))


if __name__ == "__main__":
    main()
