"""`tickcast verify`: claims about the running system, each checked against an independent truth."""
