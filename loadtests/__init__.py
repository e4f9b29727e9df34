"""Load on a running deployment, from outside: who posts, waits, lists, exports, reviews and misbehaves, and what came
of it.

Promises: every image sent is new; every pair that was acknowledged is fetched again after the run, and one that is
lost or there twice fails it; the exit status follows from the thresholds of the profile. May import `pairs` and the
demo world's scenes, never torch; knows the system by its HTTP API alone. `python -m loadtests --help` is the door.

What decides (courses, knee, ledger, thresholds) knows nothing of locust: importing that patches the whole process.
"""
