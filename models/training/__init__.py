"""From the lake to a registered model."""
