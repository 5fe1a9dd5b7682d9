"""The recorder of helpers/facts/recorded and the pictures: one run, one machine, one date."""
