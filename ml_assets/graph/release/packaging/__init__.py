"""A version as a release that any server can start from, and the test of one.

refit.py          which model serves: the judged one, or its recipe refit on all labelled rows
pack.py           the release folder
golden.py         its golden rows
supply_chain.py   its libraries, their hashes, the base image
prove.py          its server, started as a real process and tested
"""
