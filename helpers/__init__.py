"""Small, real experiments in making AI cheaper: see helpers.lab for the common ground.

Nothing is imported here, so that a page which only shows recorded results opens fast.
"""
