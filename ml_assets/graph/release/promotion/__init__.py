"""Which version is the champion.

gates.py          what the YAML demands, one function each; a new gate is written there
decide.py         what follows from the gates
approvals.py      what a person decides
approval_job.py   the same in the UI
"""
