"""What `ml-assets doctor` checks: whether this installation can do its work, and what to do where it cannot.

finding      one line of the result
installation Python, packages, disk, files, variables, ports
lake         the lake and the releases of its champions
project      the YAML and the channels of its alerts
instance     Dagster's home, daemon, sensors, runs
diagnose     all of them, each whatever becomes of the others
watch        is the daemon up? Notifies when that changes

Belongs here: finding what is wrong. What of the data needs attention (a version that waits) is in attention.py.
"""
