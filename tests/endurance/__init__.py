"""Mixed load on one folder in several processes, with kills, for as long as is asked.

`make endurance ARGS="--minutes 60"` runs it; `tests/test_endurance.py` has a short form. `load` is
what a worker does, `workers` starts and kills them, `looks` says what lies in the folder and what
may, `growth` judges what was measured over time, `held` tells a leak from what an allocator keeps,
and `passing` has keys come and go while the managers stay open.
"""
