"""Examines a project: its settings, keys, bucket, tracking server and journal, and says what mends what is wrong.

`examine` is what `holdfast doctor` runs. A check is a small object (`check.py`) in the list of its group's file; it is
made side by side with others (`runner.py`) as soon as what it needs is known, within its own time, and all of them
within fifteen seconds, whatever hangs.
"""
