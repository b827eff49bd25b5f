"""The ``bench`` command: one file per group of commands; `benchmark.cli.app` is the entry point."""
