"""Crashes holdall and judges what it kept: `make crash`, docs/crashes.md."""
