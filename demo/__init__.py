"""The demo: spoken clips through a pool on this machine. Run by `make demo`; not part of the installed package."""
