"""The local launcher: every part of judgefree as a child process of one, started in order, watched, ended in order.

What decides is pure: `shares` (threads), `supervision` (start, restart, give up), `environment` (settings to
environment). What touches the machine is thin: `preflight` (before anything starts), `processes`, `stack`. Two small
programs, `tether` and `sweeper`, see to it that nothing outlives the launcher, however it dies.
"""
