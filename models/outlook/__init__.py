"""What a stock may do within a month: four months of returns and of news, a small network, and an honest interval."""
