"""The pages, served by Voila."""
