"""Whether the world has changed under a model."""
