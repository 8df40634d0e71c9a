"""One file per vendor, on the vendor's own client. `base.py` says what a feed is, `catalog.py` which there are."""
