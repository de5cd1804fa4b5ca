"""Applications of the engine, each a plugin that imports no other."""
