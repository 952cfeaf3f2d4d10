"""The stand-in is a plugin of other processes, not a module of this suite."""

collect_ignore = ["stand_in.py"]
