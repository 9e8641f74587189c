"""Runs the unittest cases of a test program. Exit status 0, 1, or 77 where nothing could be tested and all was skipped."""
import sys
import unittest


def main():
    program = unittest.main(verbosity=2, exit=False)
    result = program.result
    if not result.wasSuccessful():
        sys.exit(1)
    if result.testsRun == 0 or len(result.skipped) >= max(result.testsRun, 1):
        sys.exit(77)
