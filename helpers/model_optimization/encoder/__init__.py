"""The parts of an encoder, how much each matters, and cutting them out: for pruning and for students."""
