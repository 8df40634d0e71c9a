"""What flows, and the engine that turns ticks and sentiment into minute features. Imports no other package of the project."""
