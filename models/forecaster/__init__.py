"""Window of features to a probabilistic forecast; `base.py` is the interface, one file a model."""
