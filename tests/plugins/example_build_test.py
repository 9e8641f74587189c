"""Builds plugins/example outside the tree against the installed header alone, then runs the test program on it.

Usage: example_build_test.py CMAKE BUILD_FOLDER EXAMPLE_FOLDER TEST_PROGRAM
"""
import os
import shutil
import subprocess
import sys
import tempfile


def run(*command, **options):
    print("+", *command, flush=True)
    subprocess.run(command, check=True, timeout=100, stdin=subprocess.DEVNULL, **options)


def main():
    cmake, build, example, program = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="runnel-example-") as folder:
        run(cmake, "--install", build, "--prefix", f"{folder}/prefix", "--component", "sdk")
        installed = [os.path.relpath(os.path.join(where, name), f"{folder}/prefix")
                     for where, _, names in os.walk(f"{folder}/prefix") for name in names]
        assert installed == ["include/runnel_sink.h"], installed
        shutil.copytree(example, f"{folder}/example")
        # No flags or variables of this build: a stranger's project.
        environment = {name: value for name, value in os.environ.items() if name not in ("CFLAGS", "LDFLAGS", "CPATH")}
        run(cmake, "-G", "Ninja", "-S", f"{folder}/example", "-B", f"{folder}/build", f"-DCMAKE_PREFIX_PATH={folder}/prefix",
            "-DCMAKE_C_FLAGS=-Werror -pedantic", env=environment)
        run(cmake, "--build", f"{folder}/build", env=environment)
        run(program, env={**environment, "RUNNEL_EXAMPLE": f"{folder}/build/unixgram.so"})


main()
