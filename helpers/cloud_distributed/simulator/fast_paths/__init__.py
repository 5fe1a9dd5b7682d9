"""The fast paths where requests come one by one: what becomes of one is known when it is placed, without events."""
