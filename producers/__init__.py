"""Sources of ticks and headlines, one file a source behind `base.py`."""
