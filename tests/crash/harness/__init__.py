"""Crashes any store: by `kill -9`, at the n-th system call, by a power cut. Standard library only.

`modes` has the crashes, `judge` and `linear` what a store may hold and what reads may see after
them, `blocklog` and `strictfs` the disks that remember what was flushed, `serve` the verifier's
side, `targets` example stores, some of which have to fail. `judge` has the lines that writers and
verifiers print.
"""
