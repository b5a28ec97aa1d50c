"""Benchmarks: each prints a table and writes build/bench/NAME.json. Run by `make bench NAME=reaction|overhead|idle`."""
