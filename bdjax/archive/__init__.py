"""Measured experiments kept in the repository, and the pages written from them.

A folder of docs/results is an experiment: its records, packed, and what they
were measured by. `command` checks work directories (`commands`, `checks`) and
packs them (`experiment`); the pages of results, of claims and the leaderboard
read these folders and nothing else (`pages`, `claims`, `board`).
"""
